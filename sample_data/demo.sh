#!/usr/bin/env bash
# Scores a folder of CSV files, then shows what happens to a damaged file. Run it with `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf demo-output demo-damaged demo-repaired

show() { # print a command, then run it
    printf '\n$ %s\n' "$1"
    eval "$1"
}

say() {
    printf '\n# %s\n' "$1"
}

say "Five CSV files, a model that MLflow saved, and the probabilities it gives."
show "batchscore run -m sample_data/models/breast_cancer -i sample_data/breast_cancer -o demo-output --predict-fn predict_proba --keep id"
show "head -n 4 demo-output/predictions.csv"

say "The same files, but one value of the second is no number."
show "cp -r sample_data/breast_cancer demo-damaged"
show "sed 's/patient-115,medium,11.93/patient-115,medium,eleven/' sample_data/breast_cancer/part-2.csv > demo-damaged/part-2.csv"
show "batchscore run -m sample_data/models/breast_cancer -i demo-damaged -o demo-repaired --predict-fn predict_proba --keep id || echo \"exit code \$?\""
show "cat demo-repaired/failures.jsonl"

say "Repair the file and run the same command again: only that file is scored."
show "cp sample_data/breast_cancer/part-2.csv demo-damaged/part-2.csv"
show "batchscore run -m sample_data/models/breast_cancer -i demo-damaged -o demo-repaired --predict-fn predict_proba --keep id"

say "What was scored in two runs is what was scored in one."
show "cmp demo-output/predictions.csv demo-repaired/predictions.csv && echo identical"
