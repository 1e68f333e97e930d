/* A store that knows nothing but whole files, for a process and its children: preloaded, it takes the C library's
 * place below two folders.
 *
 * PLAIN_STORE: files there are written from their beginning to their end. No renaming, links, locks, appending,
 * seeking in what is written, or cutting short. A rename into it from elsewhere fails as between two file systems.
 * PLAIN_STORE_LOCKS, PLAIN_STORE_CUTS: locks, and cutting files short, are possible nevertheless.
 * PLAIN_STORE_KILLS: writing a file of this name there ends the process by SIGKILL, half of its first block written.
 * PLAIN_STORE_READ_ONLY: nothing there is made, changed or removed, not even by root.
 * PLAIN_STORE_LOG: a file that gets a line for each refusal.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void absolute(int folder, const char *path, char *whole) {
    char link[64];
    ssize_t length = 0;
    whole[0] = 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, whole, PATH_MAX);
        if (length < 0) length = 0;
        whole[length++] = '/';
    }
    snprintf(whole + length, PATH_MAX, "%s", path);
}

static int below(const char *variable, const char *whole) {
    const char *root = getenv(variable);
    size_t length = root ? strlen(root) : 0;
    return length && !strncmp(whole, root, length) && (whole[length] == '/' || !whole[length]);
}

static int is_below(const char *variable, int folder, const char *path) {
    char whole[2 * PATH_MAX + 2];
    absolute(folder, path, whole);
    return below(variable, whole);
}

static int has(int handle) {
    char link[64], whole[PATH_MAX + 1];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, whole, PATH_MAX);
    if (length < 0) return 0;
    whole[length] = 0;
    return below("PLAIN_STORE", whole);
}

static int deadly = -1;

static int refuse(const char *what, const char *path, int code) {
    const char *log = getenv("PLAIN_STORE_LOG");
    if (log) {
        char line[2 * PATH_MAX];
        int length = snprintf(line, sizeof line, "%s %s\n", what, path);
        int handle = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (handle >= 0 && write(handle, line, length) < 0) {}
        if (handle >= 0) close(handle);
    }
    errno = code;
    return -1;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    if (writes && is_below("PLAIN_STORE_READ_ONLY", folder, path)) return refuse("write-read-only", path, EROFS);
    if ((flags & O_APPEND) && is_below("PLAIN_STORE", folder, path)) return refuse("append", path, EOPNOTSUPP);
    int handle = syscall(SYS_openat, folder, path, flags, mode);
    const char *kills = getenv("PLAIN_STORE_KILLS");
    const char *name = strrchr(path, '/');
    if (kills && handle >= 0 && (flags & O_ACCMODE) != O_RDONLY && has(handle) && !strcmp(name ? name + 1 : path, kills))
        deadly = handle;
    return handle;
}

ssize_t write(int handle, const void *bytes, size_t length) {
    if (handle != deadly) return syscall(SYS_write, handle, bytes, length);
    syscall(SYS_write, handle, bytes, length / 2);
    raise(SIGKILL);
    return -1;
}

#define MODE \
    mode_t mode = 0; \
    va_list rest; \
    va_start(rest, flags); \
    mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags | O_LARGEFILE, mode); }

static int moved(int from, const char *old, int to, const char *new, unsigned int flags) {
    int leaves = is_below("PLAIN_STORE", from, old), enters = is_below("PLAIN_STORE", to, new);
    if (is_below("PLAIN_STORE_READ_ONLY", from, old) || is_below("PLAIN_STORE_READ_ONLY", to, new))
        return refuse("write-read-only", old, EROFS);
    if (leaves && enters) return refuse("rename-within", new, ENOSYS);
    if (leaves || enters) return refuse("rename-across", new, EXDEV);
    return syscall(SYS_renameat2, from, old, to, new, flags);
}
int rename(const char *old, const char *new) { return moved(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return moved(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned int flags) { return moved(from, old, to, new, flags); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    if (is_below("PLAIN_STORE", to, new)) return refuse("link", new, EPERM);
    return REAL(linkat)(from, old, to, new, flags);
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int symlinkat(const char *old, int to, const char *new) {
    if (is_below("PLAIN_STORE", to, new)) return refuse("link", new, EPERM);
    return REAL(symlinkat)(old, to, new);
}
int symlink(const char *old, const char *new) { return symlinkat(old, AT_FDCWD, new); }

int flock(int handle, int operation) {
    return has(handle) && !getenv("PLAIN_STORE_LOCKS") ? refuse("lock", "flock", ENOSYS) : REAL(flock)(handle, operation);
}
static int controlled(int handle, int command, void *argument) {
    int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    if (locks && has(handle)) return refuse("lock", "fcntl", ENOSYS);
    return syscall(SYS_fcntl, handle, command, argument);
}
#define ARGUMENT \
    va_list rest; \
    va_start(rest, command); \
    void *argument = va_arg(rest, void *); \
    va_end(rest);
int fcntl(int handle, int command, ...) { ARGUMENT return controlled(handle, command, argument); }
int fcntl64(int handle, int command, ...) { ARGUMENT return controlled(handle, command, argument); }

static off_t sought(int handle, off_t offset, int whence) {
    int flags = REAL(fcntl)(handle, F_GETFL);
    int stays = whence == SEEK_CUR && !offset;
    if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && !stays && has(handle)) return refuse("seek", "lseek", EOPNOTSUPP);
    return syscall(SYS_lseek, handle, offset, whence);
}
off_t lseek(int handle, off_t offset, int whence) { return sought(handle, offset, whence); }
off64_t lseek64(int handle, off64_t offset, int whence) { return sought(handle, offset, whence); }
ssize_t pwrite(int handle, const void *bytes, size_t length, off_t offset) {
    return has(handle) ? refuse("seek", "pwrite", EOPNOTSUPP) : REAL(pwrite)(handle, bytes, length, offset);
}
ssize_t pwrite64(int handle, const void *bytes, size_t length, off64_t offset) {
    return has(handle) ? refuse("seek", "pwrite", EOPNOTSUPP) : REAL(pwrite64)(handle, bytes, length, offset);
}
int ftruncate(int handle, off_t length) {
    return has(handle) && !getenv("PLAIN_STORE_CUTS") ? refuse("cut", "ftruncate", EOPNOTSUPP) : REAL(ftruncate)(handle, length);
}
int ftruncate64(int handle, off64_t length) {
    return has(handle) && !getenv("PLAIN_STORE_CUTS") ? refuse("cut", "ftruncate", EOPNOTSUPP) : REAL(ftruncate64)(handle, length);
}

int mkdir(const char *path, mode_t mode) {
    if (is_below("PLAIN_STORE_READ_ONLY", AT_FDCWD, path)) {
        struct stat there;
        return stat(path, &there) ? refuse("write-read-only", path, EROFS) : (errno = EEXIST, -1);
    }
    return REAL(mkdir)(path, mode);
}
int unlink(const char *path) {
    if (is_below("PLAIN_STORE_READ_ONLY", AT_FDCWD, path)) return refuse("write-read-only", path, EROFS);
    return REAL(unlink)(path);
}
