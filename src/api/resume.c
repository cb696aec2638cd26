/* The checkpoints of a run. */
#include "resume.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "format.h"

static const char PREFIX[] = "checkpoint-", SUFFIX[] = ".safetensors";

void ti_checkpoint_path(char *out, size_t size, const char *folder, uint64_t step)
{
  ti_format(out, size, "%s/%s%08llu%s", folder, PREFIX, (unsigned long long)step, SUFFIX);
}

/* what follows the step in a checkpoint's file name; NULL when it is none */
static const char *read_name(const char *name, uint64_t *step)
{
  const size_t prefix = sizeof(PREFIX) - 1;
  int digits = 0;

  *step = 0;
  if (strncmp(name, PREFIX, prefix))
    return NULL;
  for (name += prefix; *name >= '0' && *name <= '9' && digits < 18; name++, digits++)
    *step = *step * 10 + (uint64_t)(*name - '0');
  return digits >= 8 ? name : NULL;
}

/* the step of a checkpoint's file name; 0 when it is none */
static uint64_t step_of(const char *name)
{
  uint64_t step;
  const char *rest = read_name(name, &step);

  return rest && !strcmp(rest, SUFFIX) ? step : 0;
}

/* "checkpoint-00000100.safetensors.1" */
static int is_set_aside(const char *name)
{
  const size_t suffix = sizeof(SUFFIX) - 1;
  uint64_t step;
  const char *rest = read_name(name, &step);

  return rest && !strncmp(rest, SUFFIX, suffix) && rest[suffix] == '.' && rest[suffix + 1] &&
         !rest[suffix + 1 + strspn(rest + suffix + 1, "0123456789")];
}

static int newest_first(const void *a, const void *b)
{
  const uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;

  return p < q ? 1 : p > q ? -1 : 0;
}

/* steps of the checkpoints in folder, newest first; ti_free() */
static textinv_status list(ti_error *error, const char *folder, uint64_t **steps, size_t *count)
{
  textinv_status status = TEXTINV_OK;
  DIR *dir = opendir(folder);
  struct dirent *entry;
  size_t room = 0;

  *steps = NULL;
  *count = 0;
  if (!dir)
    return ti_fail_errno(error, errno, folder, "cannot be listed");
  while ((errno = 0, entry = readdir(dir))) {
    const uint64_t step = step_of(entry->d_name);

    if (!step)
      continue;
    if (*count == room) {
      uint64_t *grown = ti_realloc_array(*steps, room = room ? room * 2 : 16, sizeof(*grown));

      if (!grown) {
        status = ti_fail_nomem(error, room * sizeof(*grown), "checkpoints");
        goto out;
      }
      *steps = grown;
    }
    (*steps)[(*count)++] = step;
  }
  if (errno)
    status = ti_fail_errno(error, errno, folder, "cannot be listed");
  else if (*count)
    qsort(*steps, *count, sizeof(**steps), newest_first);
out:
  closedir(dir);
  if (status < 0) {
    ti_free(*steps);
    *steps = NULL;
  }
  return status;
}

textinv_status ti_checkpoint_latest(textinv_session *s, const char *folder, char *path, size_t size,
                                    int *found)
{
  uint64_t *steps;
  size_t count;
  textinv_status status = list(&s->error, folder, &steps, &count);

  *found = 0;
  if (status < 0)
    return status;
  for (size_t i = 0; i < count && !*found; i++) {
    ti_error error = { "" };

    ti_checkpoint_path(path, size, folder, steps[i]);
    status = ti_checkpoint_check(&error, path, NULL, 0);
    if (status >= 0) {
      *found = 1;
    } else if (status == TEXTINV_E_NOMEM) {
      s->error = error;
      break;
    } else {
      ti_log(s, TEXTINV_LOG_WARNING, "%s; it is passed over", error.text);
      status = TEXTINV_OK;
    }
  }
  ti_free(steps);
  return status;
}

int ti_checkpoint_aside(const char *folder, char *path, size_t size)
{
  DIR *dir = opendir(folder);
  struct dirent *entry;
  char last[256] = "";

  while (dir && (entry = readdir(dir))) {
    if (is_set_aside(entry->d_name) && strcmp(entry->d_name, last) > 0)
      ti_format(last, sizeof(last), "%s", entry->d_name);
  }
  if (dir)
    closedir(dir);
  ti_format(path, size, "%s/%s", folder, last);
  return *last != '\0';
}

/* PATH.1, or the first number behind it that is free */
static int move_aside(const char *path, char *to, size_t size)
{
  for (unsigned i = 1;; i++) {
    if (ti_format(to, size, "%s.%u", path, i) >= size)
      return -1;
    if (access(to, F_OK))
      return rename(path, to);
  }
}

void ti_checkpoint_set_aside(textinv_session *s, const char *folder, uint64_t step)
{
  uint64_t *steps;
  size_t count, moved = 0;
  ti_error error = { "" };
  char path[TI_PATH_SIZE], to[TI_PATH_SIZE];

  if (list(&error, folder, &steps, &count) < 0)
    return;
  for (size_t i = 0; i < count && steps[i] > step; i++) {
    ti_checkpoint_path(path, sizeof(path), folder, steps[i]);
    if (move_aside(path, to, sizeof(to)))
      ti_log(s, TEXTINV_LOG_WARNING, "%s of another run cannot be renamed", path);
    else
      moved++;
  }
  if (moved)
    ti_log(s, TEXTINV_LOG_INFO, "checkpoints of another run: %zu renamed, such as to %s", moved,
           to);
  ti_free(steps);
}

void ti_checkpoint_prune(textinv_session *s, const char *folder, uint64_t after, uint64_t step,
                         uint32_t keep)
{
  uint64_t *steps;
  size_t count, met = 0;
  ti_error error = { "" };
  char path[TI_PATH_SIZE];

  if (!keep || list(&error, folder, &steps, &count) < 0)
    return;
  for (size_t i = 0; i < count && steps[i] > after; i++) {
    if (steps[i] > step || met++ < keep)
      continue;
    ti_checkpoint_path(path, sizeof(path), folder, steps[i]);
    if (unlink(path))
      ti_log(s, TEXTINV_LOG_WARNING, "%s cannot be removed", path);
  }
  ti_free(steps);
}

/* length of "key=value" at p */
static size_t entry_length(const char *p)
{
  return strcspn(p, ";");
}

textinv_status ti_settings_match(ti_error *error, const char *path, const char *saved,
                                 const char *ours)
{
  int count = 0;

  for (; *saved || (*ours && !count); count++) {
    const size_t a = entry_length(saved), b = entry_length(ours);

    if (a != b || strncmp(saved, ours, a))
      return ti_fail(
        error, TEXTINV_E_CONFLICT,
        "%s was made with %.*s; this run has %.*s: use the same options, or another output folder",
        path, a ? (int)a : 7, a ? saved : "nothing", b ? (int)b : 7, b ? ours : "nothing");
    saved += a + (saved[a] == ';');
    ours += b + (ours[b] == ';');
    saved += *saved == ' ';
    ours += *ours == ' ';
  }
  return TEXTINV_OK;
}
