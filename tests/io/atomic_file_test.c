/*
 * Whole files: complete or not there, the old one untouched by any failure, no litter. This program
 * has system calls that stand before those of the C library, to fail at will.
 */
#include "io_testing.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "alloc.h"
#include "atomic_file.h"

static int no_tmpfile, no_proc;    /* what the system has not got */
static const char *failing;        /* the call that fails once, or NULL */
static int passing, failing_errno; /* how often it works before, and why it fails then */
static size_t most = SIZE_MAX;     /* bytes of a call that reads or writes */

static void fail_call(const char *call, int after, int error_number)
{
  failing = call;
  passing = after;
  failing_errno = error_number;
}

static int fails(const char *call)
{
  if (!failing || strcmp(call, failing) || passing-- > 0)
    return 0;
  failing = NULL;
  errno = failing_errno;
  return 1;
}

int openat(int folder, const char *path, int flags, ...)
{
  const int is_nameless = (flags & O_TMPFILE) == O_TMPFILE;
  mode_t mode = 0;

  if (is_nameless || flags & O_CREAT) {
    va_list ap;

    va_start(ap, flags);
    mode = va_arg(ap, mode_t);
    va_end(ap);
  }
  if (is_nameless && no_tmpfile) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return !is_nameless && fails("openat") ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}

int access(const char *path, int mode)
{
  if (no_proc && !strncmp(path, "/proc/", 6)) {
    errno = ENOENT;
    return -1;
  }
  return (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

int fsync(int fd)
{
  return fails("fsync") ? -1 : (int)syscall(SYS_fsync, fd);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
  return fails("linkat") ? -1 : (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
  return fails("renameat") ? -1 : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, 0);
}

int fstat(int fd, struct stat *st)
{
  return fails("fstat") ? -1 : fstatat(fd, "", st, AT_EMPTY_PATH);
}

/* errno 0: the end of the file */
ssize_t read(int fd, void *bytes, size_t size)
{
  if (fails("read"))
    return errno ? -1 : 0;
  return syscall(SYS_read, fd, bytes, size < most ? size : most);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
  if (fails("write"))
    return errno ? -1 : 0;
  return syscall(SYS_write, fd, bytes, size < most ? size : most);
}

/* closes in any case, as Linux does */
int close(int fd)
{
  const int failed = fails("close"), error_number = errno;

  syscall(SYS_close, fd);
  errno = error_number;
  return failed ? -1 : 0;
}

char *realpath(const char *path, char *out)
{
  return fails("realpath") || out ? NULL : canonicalize_file_name(path);
}

static uint64_t drawn; /* what getrandom gives, where it is not 0 */

ssize_t getrandom(void *bytes, size_t size, unsigned flags)
{
  if (fails("getrandom"))
    return -1;
  if (drawn && size == sizeof(drawn)) {
    memcpy(bytes, &drawn, size);
    return (ssize_t)size;
  }
  return syscall(SYS_getrandom, bytes, size, flags);
}

/* a folder of its own for a test */
static const char *new_folder(const char *name)
{
  const char *path = test_path(name);

  assert_int_equal(mkdir(path, 0777), 0);
  return path;
}

static const char *in(const char *folder, const char *name)
{
  static char path[2][512];
  static int next;

  next ^= 1;
  snprintf(path[next], sizeof(path[next]), "%s/%s", folder, name);
  return path[next];
}

static int count_entries(const char *folder)
{
  DIR *dir = opendir(folder);
  struct dirent *entry;
  int n = 0;

  assert_non_null(dir);
  while ((entry = readdir(dir)))
    n += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
  closedir(dir);
  return n;
}

static void assert_holds(const char *path, const char *text)
{
  size_t size;
  unsigned char *bytes = read_file(path, &size);

  assert_int_equal(size, strlen(text));
  assert_memory_equal(bytes, text, size);
  free(bytes);
}

static void write_whole(const char *path, const void *bytes, size_t size)
{
  ti_atomic_file *file;

  assert_succeeds(ti_atomic_open(&file, &error, path));
  ti_atomic_write(file, bytes, size);
  assert_succeeds(ti_atomic_commit(file, &error));
}

static void nothing_is_seen_before_commit(void **state)
{
  const char *folder = new_folder("commit"), *path = in(folder, "a.txt");
  ti_atomic_file *file;

  (void)state;
  assert_succeeds(ti_atomic_open(&file, &error, path));
  ti_atomic_write(file, "he", 2);
  ti_atomic_write(file, "llo", 3);
  ti_atomic_write(file, NULL, 0);
  assert_int_equal(access(path, F_OK), -1);
  assert_succeeds(ti_atomic_commit(file, &error));
  assert_holds(path, "hello");
  assert_succeeds(ti_atomic_open(&file, &error, path));
  ti_atomic_write(file, "new", 3);
  assert_holds(path, "hello");
  ti_atomic_abandon(file);
  ti_atomic_abandon(NULL);
  assert_holds(path, "hello");
  assert_int_equal(count_entries(folder), 1);
  write_whole(path, "new", 3);
  assert_holds(path, "new");
  write_whole(path, "", 0);
  assert_holds(path, "");
  assert_int_equal(count_entries(folder), 1);
}

static void large_writes_keep_their_order(void **state)
{
  const size_t size = 300000;
  unsigned char *bytes = malloc(size), *read;
  const char *path = test_path("large");
  ti_atomic_file *file;
  size_t read_size, at = 0;

  (void)state;
  test_seed(5);
  for (size_t i = 0; i < size; i++)
    bytes[i] = (unsigned char)test_u32();
  assert_succeeds(ti_atomic_open(&file, &error, path));
  for (size_t n = 1; at < size; n = n * 3 + 1) {
    const size_t part = n < size - at ? n : size - at;

    ti_atomic_write(file, bytes + at, part);
    at += part;
  }
  assert_succeeds(ti_atomic_commit(file, &error));
  read = read_file(path, &read_size);
  assert_int_equal(read_size, size);
  assert_memory_equal(read, bytes, size);
  free(read);
  free(bytes);
}

static void a_full_disk_leaves_the_old_file(void **state)
{
  const char *folder = new_folder("full"), *path = in(folder, "a.txt");
  const struct rlimit small = { 1 << 20, RLIM_INFINITY };
  struct rlimit old;
  ti_atomic_file *file;
  static char bytes[1 << 16];

  (void)state;
  write_whole(path, "old", 3);
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  for (size_t size = (1 << 20) + 1; size < 3 << 20; size += 1 << 20) {
    assert_succeeds(ti_atomic_open(&file, &error, path));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ small.rlim_cur, old.rlim_max }), 0);
    for (size_t at = 0; at < size; at += sizeof(bytes))
      ti_atomic_write(file, bytes, size - at < sizeof(bytes) ? size - at : sizeof(bytes));
    assert_fails(ti_atomic_commit(file, &error), TEXTINV_E_IO, path, "cannot be written",
                 strerror(EFBIG));
    setrlimit(RLIMIT_FSIZE, &old);
    assert_holds(path, "old");
    assert_int_equal(count_entries(folder), 1);
  }
  signal(SIGXFSZ, SIG_DFL);
}

/* a system without O_TMPFILE, and one without /proc */
static void a_hidden_name_does_as_well(void **state)
{
  (void)state;
  for (int i = 0; i < 2; i++) {
    const char *folder = new_folder(i ? "no-proc" : "no-tmpfile"), *path = in(folder, "a.txt");
    ti_atomic_file *file;
    struct stat st;

    no_tmpfile = !(no_proc = i);
    assert_succeeds(ti_atomic_open(&file, &error, path));
    assert_int_equal(count_entries(folder), 1);
    assert_int_equal(access(path, F_OK), -1);
    ti_atomic_write(file, "old", 3);
    assert_succeeds(ti_atomic_commit(file, &error));
    assert_holds(path, "old");
    assert_int_equal(chmod(path, 0640), 0);
    assert_succeeds(ti_atomic_open(&file, &error, path));
    ti_atomic_write(file, "new", 3);
    assert_int_equal(count_entries(folder), 2);
    ti_atomic_abandon(file);
    assert_holds(path, "old");
    assert_int_equal(count_entries(folder), 1);
    write_whole(path, "new", 3);
    assert_holds(path, "new");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(count_entries(folder), 1);
    no_tmpfile = no_proc = 0;
  }
}

/* a file that holds "new", committed while a call fails; old: there is one already */
static void commit_late(const char *path, int is_named, int old, const char *call, int after,
                        int error_number, const char *message)
{
  ti_atomic_file *file;

  if (old)
    write_whole(path, "old", 3);
  no_tmpfile = is_named;
  assert_succeeds(ti_atomic_open(&file, &error, path));
  ti_atomic_write(file, "new", 3);
  fail_call(call, after, error_number);
  if (message)
    assert_fails(ti_atomic_commit(file, &error), TEXTINV_E_IO, path, message,
                 strerror(error_number ? error_number : EIO));
  else
    assert_succeeds(ti_atomic_commit(file, &error));
  assert_null(failing);
  no_tmpfile = 0;
}

/* what fails after the last byte: the disk, and the names */
static void late_failures_leave_the_old_file(void **state)
{
  static const struct {
    const char *call;
    int error_number;
    const char *message;
  } faults[] = { { "fsync", EIO, "cannot be written to the disk" },
                 { "linkat", EPERM, "cannot be named" },
                 { "renameat", EIO, "cannot be put in place" } };
  const char *folder = new_folder("late");
  const int has_nameless = open(folder, O_WRONLY | O_TMPFILE, 0600);
  char path[512];

  (void)state;
  strcpy(path, in(folder, "a.txt"));
  close(has_nameless);
  for (int is_named = has_nameless < 0; is_named < 2; is_named++) {
    for (int old = 0; old < 2; old++) {
      for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
        /* a file has its name from open on, or gets it by a link and only where one is replaced by
         * a rename, too */
        if (!strcmp(faults[i].call, is_named ? "linkat" : old ? "" : "renameat"))
          continue;
        commit_late(path, is_named, old, faults[i].call, 0, faults[i].error_number,
                    faults[i].message);
        assert_int_equal(count_entries(folder), old);
        if (old)
          assert_holds(path, "old");
      }
      /* the folder is written last: the new file is in place */
      commit_late(path, is_named, old, "fsync", 1, EIO, "its folder cannot be written");
      assert_holds(path, "new");
      commit_late(path, is_named, 1, "fsync", 1, EINVAL, NULL); /* has no fsync */
      assert_holds(path, "new");
      commit_late(path, is_named, 1, "fsync", 1, ENOTSUP, NULL);
      assert_holds(path, "new");
      commit_late(path, is_named, 1, "close", 0, EINTR, NULL);
      assert_holds(path, "new");
      commit_late(path, is_named, 1, "write", 0, EINTR, NULL);
      assert_holds(path, "new");
      commit_late(path, is_named, 1, "close", 0, EIO, "cannot be closed");
      assert_holds(path, "old");
      commit_late(path, is_named, 1, "write", 0, 0, "cannot be written");
      assert_holds(path, "old");
      if (!is_named) {
        commit_late(path, 0, 1, "linkat", 1, ENOSPC, "cannot be named");
        assert_holds(path, "old");
      }
      assert_int_equal(count_entries(folder), 1);
      assert_int_equal(unlink(path), 0);
    }
  }
}

/* names that are taken are drawn again */
static void taken_names_are_drawn_again(void **state)
{
  const char *folder = new_folder("taken"), *path = in(folder, "a.txt");

  (void)state;
  for (int old = 0; old < 2; old++) {
    no_tmpfile = 1;
    fail_call("openat", 1, EEXIST); /* the first opens the folder */
    write_whole(path, "new", 3);
    assert_null(failing);
    no_tmpfile = 0;
    assert_holds(path, "new");
    assert_int_equal(count_entries(folder), 1);
    fail_call("linkat", 1, EEXIST); /* the first tries the name of the file */
    write_whole(path, "newer", 5);
    failing = NULL;
    assert_holds(path, "newer");
    assert_int_equal(count_entries(folder), 1);
  }
}

/* without a source of randomness, and with one that gives the same name again and again */
static void names_without_chance(void **state)
{
  const char *folder = new_folder("chance");
  ti_atomic_file *file, *other;
  char path[512];

  (void)state;
  strcpy(path, in(folder, "a.txt"));
  no_tmpfile = 1;
  fail_call("getrandom", 0, ENOSYS);
  write_whole(path, "old", 3);
  assert_null(failing);
  drawn = 1;
  assert_succeeds(ti_atomic_open(&file, &error, path));
  assert_fails(ti_atomic_open(&other, &error, path), TEXTINV_E_IO, path, strerror(EEXIST));
  no_tmpfile = 0;
  assert_int_equal(count_entries(folder), 2);
  assert_succeeds(ti_atomic_open(&other, &error, path));
  if (count_entries(folder) == 2) { /* it has no name before commit */
    ti_atomic_write(other, "new", 3);
    assert_fails(ti_atomic_commit(other, &error), TEXTINV_E_IO, path, strerror(EEXIST));
  } else {
    ti_atomic_abandon(other);
  }
  ti_atomic_abandon(file);
  drawn = 0;
  assert_int_equal(count_entries(folder), 1);
  assert_holds(path, "old");
}

static void a_killed_process_leaves_the_old_file(void **state)
{
  const char *folder = new_folder("killed"), *path = in(folder, "a.txt");
  int status, ready[2];
  char c;

  (void)state;
  write_whole(path, "old", 3);
  assert_int_equal(pipe(ready), 0);
  const pid_t child = fork();

  if (!child) {
    ti_atomic_file *file;

    if (ti_atomic_open(&file, NULL, path) >= 0) {
      static char bytes[1 << 18];

      ti_atomic_write(file, bytes, sizeof(bytes));
      if (write(ready[1], "x", 1) == 1)
        pause();
    }
    _exit(1);
  }
  assert_int_equal(read(ready[0], &c, 1), 1);
  kill(child, SIGKILL);
  assert_int_equal(waitpid(child, &status, 0), child);
  close(ready[0]);
  close(ready[1]);
  assert_holds(path, "old");
  assert_true(count_entries(folder) <= 2); /* 1 where the system has files without a name */
}

static void what_cannot_be_written_is_said_at_once(void **state)
{
  const char *folder = new_folder("refused");
  char longest[300] = "";
  ti_atomic_file *file;

  (void)state;
  assert_fails(ti_atomic_open(&file, &error, in(folder, "no/a.txt")), TEXTINV_E_NOT_FOUND,
               "no/a.txt", "does not exist");
  assert_null(file);
  assert_fails(ti_atomic_open(&file, &error, folder), TEXTINV_E_IO, "folder");
  assert_fails(ti_atomic_open(&file, &error, in(folder, "")), TEXTINV_E_IO, "folder");
  assert_fails(ti_atomic_open(&file, &error, in(folder, "..")), TEXTINV_E_IO, "folder");
  assert_fails(ti_atomic_open(&file, &error, ""), TEXTINV_E_INVALID, "empty");
  assert_fails(ti_atomic_open(&file, &error, "/dev/full"), TEXTINV_E_IO, "/dev/full", "device");
  write_whole(in(folder, "file"), "x", 1);
  assert_fails(ti_atomic_open(&file, &error, in(folder, "file/a.txt")), TEXTINV_E_IO, "file/a.txt");
  memset(longest, 'n', 255);
  assert_succeeds(ti_check_writable(&error, in(folder, longest)));
  memset(longest, 'n', 256);
  assert_fails(ti_check_writable(&error, in(folder, longest)), TEXTINV_E_IO,
               strerror(ENAMETOOLONG));
  assert_succeeds(ti_check_writable(&error, in(folder, "file")));
  assert_succeeds(ti_check_writable(&error, in(folder, "new")));
  assert_fails(ti_check_writable(&error, in(folder, "no/new")), TEXTINV_E_NOT_FOUND, "no/new");
  assert_fails(ti_check_writable(&error, "/proc/textinv"), TEXTINV_E_IO, "/proc/textinv");
  assert_fails(ti_check_writable(&error, in(folder, "file/")), TEXTINV_E_IO, "file/", "its folder");
  fail_call("openat", 0, EACCES);
  assert_fails(ti_check_writable(&error, "new"), TEXTINV_E_IO, "new", "its folder",
               strerror(EACCES));
  fail_call("realpath", 0, ENOMEM);
  assert_fails(ti_check_writable(&error, in(folder, "file")), TEXTINV_E_NOMEM, "file");
  fail_call("realpath", 0, EACCES);
  assert_fails(ti_check_writable(&error, in(folder, "file")), TEXTINV_E_IO, "file",
               "cannot be resolved", strerror(EACCES));
  /* the folder "/" is there, even where nobody may write into it */
  assert_int_not_equal(ti_check_writable(NULL, "/textinv-test"), TEXTINV_E_NOT_FOUND);
  assert_int_equal(count_entries(folder), 1);
}

/* as another user where the test runs as root, who may write everywhere */
static void a_folder_without_permission(void **state)
{
  const char *folder = new_folder("locked");
  int status;

  (void)state;
  assert_int_equal(chmod(folder, 0555), 0);
  assert_int_equal(chmod(test_path(""), 0711), 0); /* the way to it is open */
  const pid_t child = fork();

  if (!child) {
    ti_error error = { "" };

    if (getuid() == 0 && setuid(65534))
      _exit(2);
    _exit(ti_check_writable(&error, in(folder, "a")) == TEXTINV_E_IO &&
              strstr(error.text, strerror(EACCES))
            ? 0
            : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
    skip();
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  chmod(folder, 0777);
}

static void links_and_permissions_are_kept(void **state)
{
  const char *folder = new_folder("links");
  char target[512], link[512];
  struct stat st;

  (void)state;
  strcpy(target, in(folder, "target"));
  strcpy(link, in(folder, "link"));
  write_whole(target, "old", 3);
  assert_int_equal(chmod(target, 0640), 0);
  assert_int_equal(symlink("target", link), 0);
  write_whole(link, "new", 3);
  assert_holds(target, "new");
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  assert_int_equal(stat(target, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0640);
  /* one that leads nowhere is not replaced by a file in its own folder */
  assert_int_equal(unlink(target), 0);
  assert_fails(ti_check_writable(&error, link), TEXTINV_E_IO, link,
               "is a link that leads to no file");
  assert_int_equal(lstat(link, &st), 0);
  assert_int_equal(unlink(link), 0);
  assert_int_equal(symlink("link", link), 0); /* to itself */
  assert_fails(ti_check_writable(&error, link), TEXTINV_E_IO, link,
               "is a link that leads to no file");
}

static void relative_paths(void **state)
{
  char old[512];

  (void)state;
  assert_non_null(getcwd(old, sizeof(old)));
  assert_int_equal(chdir(new_folder("relative")), 0);
  write_whole("a.txt", "x", 1);
  assert_holds("a.txt", "x");
  write_whole("./b.txt", "y", 1);
  assert_holds("b.txt", "y");
  assert_int_equal(chdir(old), 0);
}

static void reading(void **state)
{
  const char *path = test_path("read.txt"), *pipe_path = test_path("pipe");
  const void *map;
  void *bytes;
  size_t size;

  (void)state;
  write_file(path, "hello", 5);
  assert_succeeds(ti_file_read(&bytes, &size, &error, path, 5));
  assert_int_equal(size, 5);
  assert_string_equal(bytes, "hello");
  ti_free(bytes);
  assert_fails(ti_file_read(&bytes, &size, &error, path, 4), TEXTINV_E_LIMIT, path, "5 bytes",
               "at most 4");
  assert_null(bytes);
  assert_succeeds(ti_file_map(&map, &size, &error, path));
  assert_int_equal(size, 5);
  assert_memory_equal(map, "hello", 5);
  ti_file_unmap(map, size);
  write_file(path, "", 0);
  assert_succeeds(ti_file_read(&bytes, &size, &error, path, 0));
  assert_int_equal(size, 0);
  ti_free(bytes);
  assert_succeeds(ti_file_map(&map, &size, &error, path));
  assert_null(map);
  ti_file_unmap(map, size);
  assert_int_equal(mkfifo(pipe_path, 0666), 0); /* nobody writes into it: must not block */
  assert_fails(ti_file_read(&bytes, &size, &error, pipe_path, 10), TEXTINV_E_IO, pipe_path, "pipe");
  assert_fails(ti_file_map(&map, &size, &error, "/dev/zero"), TEXTINV_E_IO, "/dev/zero");
  assert_fails(ti_file_map(&map, &size, &error, test_path("absent")), TEXTINV_E_NOT_FOUND,
               "absent");
  assert_int_equal(size, 0);
}

/* the system may take or give fewer bytes than it is asked for */
static void calls_may_do_a_part(void **state)
{
  const char *path = test_path("parts.txt");
  ti_atomic_file *file;
  void *bytes;
  size_t size;

  (void)state;
  most = 3;
  assert_succeeds(ti_atomic_open(&file, &error, path));
  ti_atomic_write(file, "hello, ", 7);
  ti_atomic_write(file, "world", 5);
  assert_succeeds(ti_atomic_commit(file, &error));
  assert_succeeds(ti_file_read(&bytes, &size, &error, path, 12));
  most = SIZE_MAX;
  assert_int_equal(size, 12);
  assert_string_equal(bytes, "hello, world");
  ti_free(bytes);
}

static void reading_fails(void **state)
{
  static const char no_map[] = "/sys/devices/system/cpu/online";
  const char *path = test_path("read.txt");
  const void *map;
  void *bytes;
  size_t size;

  (void)state;
  write_file(path, "hello", 5);
  fail_call("openat", 0, EINTR);
  assert_succeeds(ti_file_read(&bytes, &size, &error, path, 5));
  ti_free(bytes);
  fail_call("read", 0, EINTR);
  assert_succeeds(ti_file_read(&bytes, &size, &error, path, 5));
  assert_string_equal(bytes, "hello");
  ti_free(bytes);
  fail_call("read", 0, EIO);
  assert_fails(ti_file_read(&bytes, &size, &error, path, 5), TEXTINV_E_IO, path, "cannot be read",
               strerror(EIO));
  assert_null(bytes);
  fail_call("read", 0, 0);
  assert_fails(ti_file_read(&bytes, &size, &error, path, 5), TEXTINV_E_IO, path,
               "0 of 5 bytes: it changed");
  assert_null(bytes);
  fail_call("fstat", 0, EIO);
  assert_fails(ti_file_map(&map, &size, &error, path), TEXTINV_E_IO, path, "cannot be opened",
               strerror(EIO));
  if (!access(no_map, R_OK)) {
    assert_fails(ti_file_map(&map, &size, &error, no_map), TEXTINV_E_IO, no_map,
                 "cannot be mapped");
    assert_null(map);
    assert_int_equal(size, 0);
  }
}

static void no_descriptor_is_lost(void **state)
{
  const char *path = test_path("many");
  int before, after;

  (void)state;
  before = dup(1);
  close(before);
  for (int i = 0; i < 50; i++) {
    ti_atomic_file *file;
    const void *map;
    size_t size;

    write_whole(path, "x", 1);
    assert_succeeds(ti_atomic_open(&file, &error, path));
    ti_atomic_abandon(file);
    assert_int_equal(ti_atomic_open(&file, NULL, "/no/such"), TEXTINV_E_NOT_FOUND);
    assert_int_equal(ti_file_map(&map, &size, NULL, "/dev"), TEXTINV_E_IO);
  }
  after = dup(1);
  close(after);
  assert_int_equal(before, after);
}

/* what fits is kept, the rest counted; the second file begins anew */
static void memory_takes_what_fits(void **state)
{
  char bytes[8] = "-------";
  ti_memory_file memory = { bytes, 5, 99 };
  ti_atomic_file *file;

  (void)state;
  for (int i = 0; i < 2; i++) {
    assert_succeeds(ti_atomic_open_to(&file, &error, "memory", &memory));
    ti_atomic_write(file, "abc", 3);
    ti_atomic_write(file, NULL, 0);
    ti_atomic_write(file, i ? "DEFG" : "defg", 4);
    ti_atomic_write(file, "hi", 2);
    assert_succeeds(ti_atomic_commit(file, &error));
    assert_int_equal(memory.size, 9);
    assert_string_equal(bytes, i ? "abcDE--" : "abcde--");
  }
  memory = (ti_memory_file){ NULL, 0, 0 };
  assert_succeeds(ti_atomic_open_to(&file, &error, "memory", &memory));
  ti_atomic_write(file, "abc", 3);
  ti_atomic_abandon(file);
  assert_int_equal(memory.size, 3);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_is_seen_before_commit),
    cmocka_unit_test(large_writes_keep_their_order),
    cmocka_unit_test(memory_takes_what_fits),
    cmocka_unit_test(a_full_disk_leaves_the_old_file),
    cmocka_unit_test(a_hidden_name_does_as_well),
    cmocka_unit_test(late_failures_leave_the_old_file),
    cmocka_unit_test(taken_names_are_drawn_again),
    cmocka_unit_test(names_without_chance),
    cmocka_unit_test(a_killed_process_leaves_the_old_file),
    cmocka_unit_test(what_cannot_be_written_is_said_at_once),
    cmocka_unit_test(a_folder_without_permission),
    cmocka_unit_test(links_and_permissions_are_kept),
    cmocka_unit_test(relative_paths),
    cmocka_unit_test(reading),
    cmocka_unit_test(calls_may_do_a_part),
    cmocka_unit_test(reading_fails),
    cmocka_unit_test(no_descriptor_is_lost),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
