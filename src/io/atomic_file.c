/*
 * Whole files, read and written.
 *
 * Where the file system has O_TMPFILE the bytes go into a file without a name, so that not even a
 * killed process leaves anything behind; elsewhere into a hidden file in the same folder.
 */
#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* renameat */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "alloc.h"
#include "format.h"

enum { BUFFER_SIZE = 65536, ATTEMPTS = 16 };

struct ti_atomic_file {
  ti_memory_file *memory;                                  /* in place of all below, or NULL */
  char *path;                                              /* as the caller gave it, for messages */
  char *target;                                            /* with symbolic links resolved */
  const char *name;                                        /* last part of target */
  char temporary[sizeof(".textinv-0123456789abcdef.tmp")]; /* "" while the file has no name */
  int folder, fd;
  int error_number; /* of the first write that failed */
  size_t used;
  unsigned char buffer[BUFFER_SIZE];
};

static int open_again(int folder, const char *path, int flags, mode_t mode)
{
  int fd;

  do
    fd = openat(folder, path, flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

static textinv_status not_a_file(ti_error *error, const char *path, mode_t mode)
{
  return ti_fail(error, TEXTINV_E_IO, "%s: is %s, expected a file", path,
                 S_ISDIR(mode) ? "a folder" : "a device, pipe or socket");
}

/* a regular file, opened without waiting for a pipe's other end */
static textinv_status open_regular(int *out, size_t *size, ti_error *error, const char *path)
{
  struct stat st;
  const int fd = open_again(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);

  *out = -1;
  if (fd < 0)
    return ti_fail_errno(error, errno, path, "cannot be opened");
  if (fstat(fd, &st)) {
    const int error_number = errno;

    close(fd);
    return ti_fail_errno(error, error_number, path, "cannot be opened");
  }
  if (!S_ISREG(st.st_mode)) {
    close(fd);
    return not_a_file(error, path, st.st_mode);
  }
  *out = fd;
  *size = (size_t)st.st_size;
  return TEXTINV_OK;
}

textinv_status ti_file_check_size(ti_error *error, const char *path, size_t size, size_t limit)
{
  if (size > limit)
    return ti_fail(error, TEXTINV_E_LIMIT, "%s: has %zu bytes, at most %zu are read", path, size,
                   limit);
  return TEXTINV_OK;
}

textinv_status ti_file_read(void **bytes, size_t *size, ti_error *error, const char *path,
                            size_t limit)
{
  textinv_status status;
  unsigned char *buffer = NULL;
  size_t capacity, used = 0;
  int fd;

  *bytes = NULL;
  *size = 0;
  if ((status = open_regular(&fd, &capacity, error, path)) < 0)
    return status;
  if ((status = ti_file_check_size(error, path, capacity, limit)) < 0)
    goto out;
  buffer = ti_realloc_array(NULL, capacity + 1, 1);
  if (!buffer) {
    status = ti_fail_nomem(error, capacity + 1, path);
    goto out;
  }
  while (used < capacity) {
    const ssize_t n = read(fd, buffer + used, capacity - used);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0) {
      status = ti_fail_errno(error, errno, path, "cannot be read");
      goto out;
    }
    if (n == 0) {
      status = ti_fail(error, TEXTINV_E_IO, "%s: ended after %zu of %zu bytes: it changed", path,
                       used, capacity);
      goto out;
    }
    used += (size_t)n;
  }
  buffer[used] = 0;
  *bytes = buffer;
  *size = used;
  buffer = NULL;
out:
  ti_free(buffer);
  close(fd);
  return status;
}

textinv_status ti_file_map(const void **bytes, size_t *size, ti_error *error, const char *path)
{
  textinv_status status;
  void *p;
  int fd;

  *bytes = NULL;
  if ((status = open_regular(&fd, size, error, path)) < 0) {
    *size = 0;
    return status;
  }
  if (*size) {
    p = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
      status = ti_fail_errno(error, errno, path, "cannot be mapped");
      *size = 0;
    } else {
      *bytes = p;
    }
  }
  close(fd);
  return status;
}

void ti_file_unmap(const void *bytes, size_t size)
{
  if (bytes)
    munmap((void *)(uintptr_t)bytes, size);
}

/* a fresh hidden name; uniqueness is checked by O_EXCL and link, so a guess is enough */
static void draw_name(ti_atomic_file *file)
{
  uint64_t r = 0;

  if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r)) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    r = ((uint64_t)t.tv_nsec << 32 ^ (uint64_t)t.tv_sec) * 0x9e3779b97f4a7c15u ^ (uint64_t)getpid();
  }
  ti_format(file->temporary, sizeof(file->temporary), ".textinv-%016llx.tmp",
            (unsigned long long)r);
}

static void descriptor_path(char out[32], int fd)
{
  ti_format(out, 32, "/proc/self/fd/%d", fd);
}

/* open the temporary file, 0 or an errno */
static int open_temporary(ti_atomic_file *file)
{
#ifdef O_TMPFILE
  char link[32];

  file->fd = open_again(file->folder, ".", O_WRONLY | O_TMPFILE, 0666);
  if (file->fd >= 0) {
    descriptor_path(link, file->fd);
    if (!access(link, F_OK))
      return 0;
    close(file->fd);
  }
#endif
  for (int i = 0; i < ATTEMPTS; i++) {
    draw_name(file);
    file->fd = open_again(file->folder, file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
                          0666);
    if (file->fd >= 0)
      return 0;
    if (errno != EEXIST)
      break;
  }
  *file->temporary = '\0';
  return errno;
}

/* split target into folder and name, and open the folder; 0 or an errno */
static int open_folder(ti_atomic_file *file)
{
  char *slash = strrchr(file->target, '/');
  int error_number = 0;

  file->name = slash ? slash + 1 : file->target;
  if (!slash) {
    file->folder = open_again(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY, 0);
  } else if (slash == file->target) {
    file->folder = open_again(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0);
  } else {
    *slash = '\0';
    file->folder = open_again(AT_FDCWD, file->target, O_RDONLY | O_DIRECTORY, 0);
    if (file->folder < 0)
      error_number = errno;
    *slash = '/';
    return error_number;
  }
  return file->folder < 0 ? errno : 0;
}

textinv_status ti_atomic_open(ti_atomic_file **out, ti_error *error, const char *path)
{
  textinv_status status = TEXTINV_OK;
  ti_atomic_file *file;
  struct stat st;
  char *real;
  int error_number, exists;

  *out = NULL;
  if (!*path)
    return ti_fail(error, TEXTINV_E_INVALID, "the path of the file to write is empty");
  file = ti_calloc(1, sizeof(*file));
  if (!file)
    return ti_fail_nomem(error, sizeof(*file), path);
  file->folder = file->fd = -1;
  file->path = ti_strdup(path);
  exists = !stat(path, &st);
  if (!exists && !lstat(path, &st) && S_ISLNK(st.st_mode)) {
    status = ti_fail(error, TEXTINV_E_IO,
                     "%s: is a link that leads to no file; remove it or name another path", path);
    goto out;
  }
  real = exists ? realpath(path, NULL) : NULL;
  if (exists && !real) {
    status = errno == ENOMEM ? ti_fail_nomem(error, strlen(path), path)
                             : ti_fail_errno(error, errno, path, "cannot be resolved");
    goto out;
  }
  file->target = ti_strdup(real ? real : path);
  free(real);
  if (!file->path || !file->target) {
    status = ti_fail_nomem(error, strlen(path), path);
    goto out;
  }
  if (exists && !S_ISREG(st.st_mode)) {
    status = not_a_file(error, path, st.st_mode);
    goto out;
  }
  error_number = open_folder(file);
  if (error_number) {
    status = error_number == ENOENT
               ? ti_fail(error, TEXTINV_E_NOT_FOUND,
                         "%s: the folder to write it into does not exist", path)
               : ti_fail_errno(error, error_number, path, "its folder cannot be opened");
    goto out;
  }
  /* says so when the name is too long, before any work */
  if (fstatat(file->folder, file->name, &st, AT_SYMLINK_NOFOLLOW) && errno != ENOENT) {
    status = ti_fail_errno(error, errno, path, "cannot be written");
    goto out;
  }
  error_number = open_temporary(file);
  if (error_number) {
    ti_fail_errno(error, error_number, path, "cannot be written");
    status = TEXTINV_E_IO; /* the folder is there, so nothing is missing even where it says so */
    goto out;
  }
  if (exists)
    (void)fchmod(file->fd, st.st_mode & 0777); /* a replaced file keeps its permissions */
  *out = file;
  file = NULL;
out:
  ti_atomic_abandon(file);
  return status;
}

textinv_status ti_atomic_open_to(ti_atomic_file **out, ti_error *error, const char *path,
                                 ti_memory_file *memory)
{
  if (!memory)
    return ti_atomic_open(out, error, path);
  *out = ti_calloc(1, sizeof(**out));
  if (!*out)
    return ti_fail_nomem(error, sizeof(**out), path);
  (*out)->folder = (*out)->fd = -1;
  (*out)->memory = memory;
  memory->size = 0;
  return TEXTINV_OK;
}

static void write_memory(ti_memory_file *memory, const void *bytes, size_t size)
{
  const size_t room = memory->size < memory->capacity ? memory->capacity - memory->size : 0;
  const size_t kept = size < room ? size : room;

  if (kept)
    memcpy((unsigned char *)memory->bytes + memory->size, bytes, kept);
  memory->size += size;
}

/* write all bytes; the first failure is kept */
static void write_all(ti_atomic_file *file, const unsigned char *bytes, size_t size)
{
  while (size && !file->error_number) {
    const ssize_t n = write(file->fd, bytes, size);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      file->error_number = n < 0 ? errno : EIO;
      return;
    }
    bytes += n;
    size -= (size_t)n;
  }
}

static void flush(ti_atomic_file *file)
{
  write_all(file, file->buffer, file->used);
  file->used = 0;
}

void ti_atomic_write(ti_atomic_file *file, const void *bytes, size_t size)
{
  if (file->memory) {
    write_memory(file->memory, bytes, size);
    return;
  }
  if (size > BUFFER_SIZE - file->used)
    flush(file);
  if (size > BUFFER_SIZE) {
    write_all(file, bytes, size);
  } else if (size) {
    memcpy(file->buffer + file->used, bytes, size);
    file->used += size;
  }
}

/*
 * Give a file without a name its own where that is free, so that a killed process leaves nothing,
 * else a temporary one: a rename replaces, a link does not. 0 or an errno
 */
static int link_name(ti_atomic_file *file)
{
  char link[32];

  descriptor_path(link, file->fd);
  if (!linkat(AT_FDCWD, link, file->folder, file->name, AT_SYMLINK_FOLLOW))
    return 0;
  if (errno != EEXIST)
    return errno;
  for (int i = 0; i < ATTEMPTS; i++) {
    draw_name(file);
    if (!linkat(AT_FDCWD, link, file->folder, file->temporary, AT_SYMLINK_FOLLOW))
      return 0;
    if (errno != EEXIST)
      break;
  }
  *file->temporary = '\0';
  return errno;
}

static void close_all(ti_atomic_file *file)
{
  if (file->fd >= 0)
    close(file->fd);
  if (*file->temporary)
    unlinkat(file->folder, file->temporary, 0);
  if (file->folder >= 0)
    close(file->folder);
  ti_free(file->target);
  ti_free(file->path);
  ti_free(file);
}

textinv_status ti_atomic_commit(ti_atomic_file *file, ti_error *error)
{
  textinv_status status = TEXTINV_OK;
  int error_number;

  if (file->memory)
    goto out;
  flush(file);
  error_number = file->error_number;
  if (error_number) {
    status = ti_fail_errno(error, error_number, file->path, "cannot be written");
    goto out;
  }
  /* after a failed fsync the kernel may have dropped the pages: it is final */
  if (fsync(file->fd)) {
    status = ti_fail_errno(error, errno, file->path, "cannot be written to the disk");
    goto out;
  }
  if (!*file->temporary && (error_number = link_name(file))) {
    status = ti_fail_errno(error, error_number, file->path, "cannot be named");
    goto out;
  }
  error_number = close(file->fd) ? errno : 0;
  file->fd = -1;
  if (error_number && error_number != EINTR) {
    status = ti_fail_errno(error, error_number, file->path, "cannot be closed");
    goto out;
  }
  if (*file->temporary && renameat(file->folder, file->temporary, file->folder, file->name)) {
    status = ti_fail_errno(error, errno, file->path, "cannot be put in place");
    goto out;
  }
  *file->temporary = '\0';
  /* some file systems have no fsync for folders and say EINVAL */
  if (fsync(file->folder) && errno != EINVAL && errno != ENOTSUP)
    status = ti_fail_errno(error, errno, file->path, "its folder cannot be written to the disk");
out:
  close_all(file);
  return status;
}

void ti_atomic_abandon(ti_atomic_file *file)
{
  if (file)
    close_all(file);
}

textinv_status ti_check_writable(ti_error *error, const char *path)
{
  ti_atomic_file *file;
  const textinv_status status = ti_atomic_open(&file, error, path);

  ti_atomic_abandon(file);
  return status;
}
