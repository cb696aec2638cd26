/*
 * Two passes: the first copies the text and notes brackets, of which an opening one gets its factor
 * when it is closed; the second multiplies the factors of those that are open. Round and square
 * brackets do not see each other, as in the web UI, so ( [ ) ] are two that overlap.
 */
#include "weighted_text.h"

#include <math.h>
#include <string.h>

#include "alloc.h"

static const double BRACKET = 1.1;

typedef struct bracket {
  size_t at; /* in the copied text */
  int square, closes;
  double factor; /* of one that opens */
} bracket;

typedef struct parser {
  char *text;
  size_t len;
  bracket *brackets;
  size_t count;
  size_t *open[2]; /* round, square: brackets that wait for their end */
  size_t num_open[2];
} parser;

static void open_bracket(parser *p, int square)
{
  p->open[square][p->num_open[square]++] = p->count;
  p->brackets[p->count++] = (bracket){ p->len, square, 0, square ? 1.0 / BRACKET : BRACKET };
}

static void close_bracket(parser *p, int square, double factor)
{
  p->brackets[p->open[square][--p->num_open[square]]].factor = factor;
  p->brackets[p->count++] = (bracket){ p->len, square, 1, 0.0 };
}

static int is_space(char c)
{
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ":1.3)": its length, or 0 when it is something else */
static size_t read_weight(double *weight, const char *text, const char *end)
{
  const char *p = text + 1;
  double value = 0.0, place = 1.0, sign = 1.0;
  int digits = 0, points = 0;

  while (p < end && is_space(*p))
    p++;
  if (p < end && (*p == '+' || *p == '-'))
    sign = *p++ == '-' ? -1.0 : 1.0;
  for (; p < end && ((*p >= '0' && *p <= '9') || *p == '.'); p++) {
    if (*p == '.') {
      points++;
      continue;
    }
    digits++;
    if (place >= 1e15) /* of no weight */
      continue;
    value = value * 10.0 + (*p - '0');
    place *= points ? 10.0 : 1.0;
  }
  while (p < end && is_space(*p))
    p++;
  if (!digits || points > 1 || p == end || *p != ')')
    return 0;
  *weight = sign * value / place;
  return (size_t)(p + 1 - text);
}

static void scan(parser *p, const char *text, const char *end)
{
  while (text < end) {
    const int square = *text == '[' || *text == ']';
    double weight;
    size_t len;

    if (*text == '\\') {
      text++;
      if (text < end && strchr("()[]\\", *text))
        p->text[p->len++] = *text++;
    } else if (*text == '(' || *text == '[') {
      open_bracket(p, square);
      text++;
    } else if ((*text == ')' || *text == ']') && p->num_open[square]) {
      close_bracket(p, square, square ? 1.0 / BRACKET : BRACKET);
      text++;
    } else if (*text == ':' && p->num_open[0] && (len = read_weight(&weight, text, end)) > 0) {
      close_bracket(p, 0, weight);
      text += len;
    } else {
      p->text[p->len++] = *text++;
    }
  }
}

/* products [2][depth]: of the brackets that are open, outermost first */
static textinv_status weigh(ti_weighted_text *out, ti_error *error, const parser *p,
                            double *const products[2])
{
  size_t depth[2] = { 0, 0 }, from = 0;

  for (size_t i = 0; i <= p->count; i++) {
    const size_t at = i < p->count ? p->brackets[i].at : p->len;
    const double weight = products[0][depth[0]] * products[1][depth[1]];
    ti_text_run *last = out->count ? &out->runs[out->count - 1] : NULL;

    if (at > from && !(fabs(weight) <= 1000.0))
      return ti_fail(error, TEXTINV_E_INVALID,
                     "a part of the prompt has the weight %g; -1000 to 1000 are possible", weight);
    if (at > from && last && last->weight == weight)
      last->len += at - from;
    else if (at > from)
      out->runs[out->count++] = (ti_text_run){ from, at - from, weight };
    from = at;
    if (i == p->count)
      break;
    const bracket *b = &p->brackets[i];
    const int k = b->square;

    if (b->closes) {
      depth[k]--;
    } else {
      products[k][depth[k] + 1] = products[k][depth[k]] * b->factor;
      depth[k]++;
    }
  }
  return TEXTINV_OK;
}

textinv_status ti_weighted_text_parse(ti_weighted_text *out, ti_error *error, const char *text,
                                      size_t len)
{
  parser p = { 0 };
  double *products[2] = { NULL, NULL };
  textinv_status status;
  size_t brackets = 0;

  for (size_t i = 0; i < len; i++)
    brackets += strchr("()[]", text[i]) != NULL;
  memset(out, 0, sizeof(*out));
  p.text = ti_calloc(len + 1, 1);
  p.brackets = ti_calloc(brackets + 1, sizeof(*p.brackets));
  out->runs = ti_calloc(brackets + 1, sizeof(*out->runs));
  for (int k = 0; k < 2; k++) {
    p.open[k] = ti_calloc(brackets + 1, sizeof(*p.open[k]));
    products[k] = ti_calloc(brackets + 1, sizeof(*products[k]));
  }
  if (!p.text || !p.brackets || !out->runs || !p.open[0] || !p.open[1] || !products[0] ||
      !products[1]) {
    status = ti_fail_nomem(error, (brackets + 1) * sizeof(*p.brackets), "a prompt's weights");
    goto out;
  }
  scan(&p, text, text + len);
  products[0][0] = products[1][0] = 1.0;
  status = weigh(out, error, &p, products);
out:
  for (int k = 0; k < 2; k++) {
    ti_free(p.open[k]);
    ti_free(products[k]);
  }
  ti_free(p.brackets);
  out->text = p.text;
  if (status < 0)
    ti_weighted_text_free(out);
  return status;
}

void ti_weighted_text_free(ti_weighted_text *t)
{
  ti_free(t->text);
  ti_free(t->runs);
  memset(t, 0, sizeof(*t));
}
