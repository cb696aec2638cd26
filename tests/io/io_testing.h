/* What the tests of files share: failures with their messages, silence, bytes of files. */
#ifndef TI_IO_TESTING_H
#define TI_IO_TESTING_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "testing.h"

/* standard output and error of the library calls between begin and end, which must be empty */
typedef struct silence {
  int out, err, file;
} silence;

static inline silence silence_begin(void)
{
  silence s;

  fflush(stdout);
  fflush(stderr);
  s.out = dup(1);
  s.err = dup(2);
  s.file = memfd_create("silence", 0);
  assert_true(s.out >= 0 && s.err >= 0 && s.file >= 0);
  dup2(s.file, 1);
  dup2(s.file, 2);
  return s;
}

static inline void silence_end(silence s)
{
  struct stat st;

  fflush(stdout);
  fflush(stderr);
  dup2(s.out, 1);
  dup2(s.err, 2);
  fstat(s.file, &st);
  close(s.out);
  close(s.err);
  close(s.file);
  assert_int_equal(st.st_size, 0);
}

/* status is the expected one, and the message is one line that has every text, NULL at the end */
static inline void check_failure(int line, textinv_status status, textinv_status expected,
                                 const char *message, const char *const *texts)
{
  int good = status == expected && *message && !strchr(message, '\n');

  for (; *texts; texts++)
    good = good && strstr(message, *texts);
  if (!good)
    print_error("line %d: status %d, expected %d: %s\n", line, status, expected, message);
  assert_true(good);
}

/* call, which refers to &error, fails as expected and prints nothing */
#define assert_fails(call, expected, ...)                                                          \
  do {                                                                                             \
    ti_error error = { "" };                                                                       \
    const silence quiet = silence_begin();                                                         \
    const textinv_status got = (call);                                                             \
                                                                                                   \
    silence_end(quiet);                                                                            \
    check_failure(__LINE__, got, expected, error.text,                                             \
                  (const char *const[]){ __VA_ARGS__, NULL });                                     \
  } while (0)

/* call, which refers to &error, succeeds and prints nothing */
#define assert_succeeds(call)                                                                      \
  do {                                                                                             \
    ti_error error = { "" };                                                                       \
    const silence quiet = silence_begin();                                                         \
    const textinv_status got = (call);                                                             \
                                                                                                   \
    silence_end(quiet);                                                                            \
    if (got < 0)                                                                                   \
      print_error("line %d: status %d: %s\n", __LINE__, got, error.text);                          \
    assert_int_equal(got, TEXTINV_OK);                                                             \
  } while (0)

static inline void write_file(const char *path, const void *bytes, size_t size)
{
  FILE *f = fopen(path, "wb");

  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

/* bytes of a file that is there; free() them */
static inline unsigned char *read_file(const char *path, size_t *size)
{
  FILE *f = fopen(path, "rb");
  unsigned char *bytes;

  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  *size = (size_t)ftell(f);
  rewind(f);
  bytes = malloc(*size + 1);
  assert_non_null(bytes);
  assert_int_equal(fread(bytes, 1, *size, f), *size);
  fclose(f);
  return bytes;
}

#endif /* TI_IO_TESTING_H */
