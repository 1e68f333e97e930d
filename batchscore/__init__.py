"""Score folders of CSV and Parquet files with an MLflow model."""
