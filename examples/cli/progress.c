/* Progress on stderr. The rate is an average over about ten seconds, so that it follows what the
 * machine does now. */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

const cli_choice progress_choices[] = { { "auto", PROGRESS_AUTO },   { "bar", PROGRESS_BAR },
                                        { "plain", PROGRESS_PLAIN }, { "json", PROGRESS_JSON },
                                        { "none", PROGRESS_NONE },   { NULL, 0 } };

static double now(void)
{
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress_init(progress_state *p, int32_t mode, int quiet)
{
  memset(p, 0, sizeof(*p));
  p->mode = mode;
  if (mode == PROGRESS_AUTO)
    p->mode = quiet ? PROGRESS_NONE : isatty(STDERR_FILENO) ? PROGRESS_BAR : PROGRESS_PLAIN;
  p->drawn = p->mode == PROGRESS_PLAIN ? now() : -1e9;
}

static void measure(progress_state *p, const textinv_progress *g)
{
  const double seconds = g->seconds - p->seconds;
  const uint32_t steps = g->step - p->last;

  if (strncmp(p->phase, g->phase, sizeof(p->phase) - 1) || g->step < p->last ||
      g->seconds < p->seconds) {
    snprintf(p->phase, sizeof(p->phase), "%s", g->phase);
    p->rate = 0.0;
    p->first = g->step ? g->step - 1 : 0;
    if (g->seconds > 0.0 && g->step > p->first)
      p->rate = (g->step - p->first) / g->seconds;
  } else if (seconds > 0.0 && steps) {
    const double fresh = steps / seconds, weight = 1.0 - exp(-seconds / 10.0);

    p->rate = p->rate > 0.0 ? p->rate + (fresh - p->rate) * weight : fresh;
  }
  p->last = g->step;
  p->seconds = g->seconds;
}

/* seconds as 0:07, 12:34 or 1:02:03 */
static void format_time(char *out, size_t size, double seconds)
{
  const long long s = seconds > 0.0 && seconds < 1e9 ? (long long)(seconds + 0.5) : 0;

  if (s >= 3600)
    snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
  else
    snprintf(out, size, "%lld:%02lld", s / 60, s % 60);
}

static double seconds_left(const progress_state *p, const textinv_progress *g)
{
  return p->rate > 0.0 ? (g->steps - g->step) / p->rate : g->eta;
}

/* "4.81 step/s", or "2.07 s/step" when slower than one a second */
static void format_rate(char *out, size_t size, double rate)
{
  if (rate >= 1.0 || rate <= 0.0)
    snprintf(out, size, "%.2f step/s", rate);
  else
    snprintf(out, size, "%.2f s/step", 1.0 / rate);
}

static void describe(const progress_state *p, const textinv_progress *g, char *out, size_t size)
{
  char past[32], left[32], rate[32];
  int n;

  format_time(past, sizeof(past), g->seconds);
  format_time(left, sizeof(left), seconds_left(p, g));
  format_rate(rate, sizeof(rate), p->rate);
  n = snprintf(out, size, "%u/%u [%s<%s, %s", g->step, g->steps, past, left, rate);
  if (!strcmp(g->phase, "train"))
    n += snprintf(out + n, size - (size_t)n, ", loss %.4f", (double)g->loss_average);
  snprintf(out + n, size - (size_t)n, "]");
}

static void draw_bar(progress_state *p, const textinv_progress *g)
{
  struct winsize terminal;
  char text[192], bar[64];
  const int columns = !ioctl(STDERR_FILENO, TIOCGWINSZ, &terminal) && terminal.ws_col
                        ? terminal.ws_col
                        : 80;
  const double done = g->steps ? (double)g->step / g->steps : 1.0;
  int width, filled;

  describe(p, g, text, sizeof(text));
  width = columns - 1 - (int)strlen(text) - 16;
  width = width > (int)sizeof(bar) - 1 ? (int)sizeof(bar) - 1 : width;
  if (width < 4) {
    fprintf(stderr, "\r%-7s%3.0f%% %.*s\033[K", g->phase, done * 100.0,
            columns > 13 ? columns - 13 : 0, text);
  } else {
    filled = (int)(done * width);
    memset(bar, ' ', sizeof(bar));
    memset(bar, '#', (size_t)filled);
    bar[width] = '\0';
    fprintf(stderr, "\r%-7s%3.0f%%|%s| %s\033[K", g->phase, done * 100.0, bar, text);
  }
  p->open = 1;
  if (g->step >= g->steps)
    progress_end(p);
}

static void print_number(const char *name, double value)
{
  if (isfinite(value))
    fprintf(stderr, ",\"%s\":%.9g", name, value);
  else
    fprintf(stderr, ",\"%s\":null", name);
}

static void print_json(const progress_state *p, const textinv_progress *g)
{
  fprintf(stderr, "{\"phase\":\"%s\",\"step\":%u,\"steps\":%u", g->phase, g->step, g->steps);
  if (!strcmp(g->phase, "train")) {
    print_number("loss", (double)g->loss);
    print_number("loss_average", (double)g->loss_average);
    print_number("learning_rate", (double)g->learning_rate);
    print_number("gradient_norm", (double)g->gradient_norm);
  }
  print_number("rate", p->rate);
  print_number("seconds", g->seconds);
  print_number("eta", seconds_left(p, g));
  fputs("}\n", stderr);
}

int32_t progress_update(void *user, const textinv_progress *g)
{
  progress_state *p = user;
  const double clock = now(), since = clock - p->drawn;
  const int last = g->step >= g->steps;

  measure(p, g);
  switch (p->mode) {
  case PROGRESS_BAR:
    if (since >= 0.1 || last) {
      draw_bar(p, g);
      p->drawn = clock;
    }
    break;
  case PROGRESS_PLAIN:
    if (since >= 10.0) {
      char text[192];

      describe(p, g, text, sizeof(text));
      fprintf(stderr, "%s %s\n", g->phase, text);
      p->drawn = clock;
    }
    break;
  case PROGRESS_JSON: print_json(p, g); break;
  default: break;
  }
  fflush(stderr);
  return 0;
}

void progress_end(progress_state *p)
{
  if (p->open)
    fputc('\n', stderr);
  p->open = 0;
}
