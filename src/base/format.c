/* Text from values, in the C locale whatever the host's locale is. */
#include "format.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct sink {
  char *out;
  size_t size, len; /* len counts what did not fit, too */
} sink;

static void put(sink *s, const char *text, size_t len)
{
  for (size_t i = 0; i < len; i++, s->len++) {
    if (s->len + 1 < s->size)
      s->out[s->len] = text[i];
  }
}

static void put_padded(sink *s, const char *text, size_t len, int width, char pad)
{
  if (pad == '0' && len && *text == '-') {
    put(s, text, 1);
    text++, len--, width--;
  }
  for (int i = (int)len; i < width; i++)
    put(s, &pad, 1);
  put(s, text, len);
}

/* digits of v before end; returns their start */
static char *digits(char *end, unsigned long long v, unsigned base)
{
  do {
    *--end = "0123456789abcdef"[v % base];
    v /= base;
  } while (v);
  return end;
}

/*
 * v > 0 to n significant decimal digits and the exponent of the first. Scaling by long double
 * powers of ten is exact to more digits than any caller asks for (17).
 */
static int decimal(double v, int n, char *out)
{
  int exponent = (int)floor(log10(v));
  const long double scale = powl(10.0L, (long double)(n - 1 - exponent));
  const long double top = powl(10.0L, n);
  long double scaled = isinf(scale) ? (long double)v * powl(10.0L, 300) *
                                        powl(10.0L, (long double)(n - 301 - exponent))
                                    : (long double)v * scale;
  unsigned long long m;

  if (scaled < top / 10.0L) { /* the logarithm was rounded up */
    exponent--;
    scaled *= 10.0L;
  }
  m = (unsigned long long)llrintl(scaled);
  if ((long double)m >= top) {
    exponent++;
    m = (unsigned long long)llrintl(scaled / 10.0L);
  }
  for (int i = n - 1; i >= 0; i--, m /= 10)
    out[i] = (char)('0' + m % 10);
  return exponent;
}

/* to n significant digits; with an exponent, as C's %g, below 1e-5 and from 1e17 on */
static size_t general(char *out, double v, int n)
{
  char d[24];
  char *p = out;
  int exponent;

  if (isnan(v))
    return strlen(strcpy(out, "nan"));
  if (signbit(v)) {
    *p++ = '-';
    v = -v;
  }
  if (isinf(v))
    return (size_t)(p - out) + strlen(strcpy(p, "inf"));
  if (v == 0.0) {
    *p++ = '0';
    return (size_t)(p - out);
  }
  exponent = decimal(v, n, d);
  while (n > 1 && d[n - 1] == '0')
    n--;
  if (exponent < -5 || exponent >= 17) {
    *p++ = d[0];
    if (n > 1)
      *p++ = '.';
    memcpy(p, d + 1, (size_t)(n - 1));
    p += n - 1;
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    const int e = exponent < 0 ? -exponent : exponent;

    if (e >= 100)
      *p++ = (char)('0' + e / 100);
    *p++ = (char)('0' + e / 10 % 10);
    *p++ = (char)('0' + e % 10);
    return (size_t)(p - out);
  }
  if (exponent < 0) {
    *p++ = '0';
    *p++ = '.';
    for (int i = -1; i > exponent; i--)
      *p++ = '0';
    memcpy(p, d, (size_t)n);
    return (size_t)(p + n - out);
  }
  for (int i = 0; i < n || i <= exponent; i++) {
    if (i == exponent + 1)
      *p++ = '.';
    *p++ = i < n ? d[i] : '0';
  }
  return (size_t)(p - out);
}

/* of the fewest digits, from n to most, that read back as value, a float when most is 9 */
static size_t shortest(char out[32], double value, int n, int most)
{
  const double v = fabs(value);

  for (;; n++) {
    const size_t len = general(out, value, n);
    long double back = 0.0L;
    char d[24];

    out[len] = '\0';
    if (n == most || !isfinite(value) || value == 0.0)
      return len;
    const int exponent = decimal(v, n, d);

    for (int i = 0; i < n; i++)
      back = back * 10.0L + (d[i] - '0');
    back *= powl(10.0L, exponent - n + 1);
    /* within half of the gap below, with room for the roundings here */
    if (fabsl(back - v) <
        0.49L * (v - (most == 9 ? nextafterf((float)v, 0.0f) : nextafter(v, 0.0))))
      return len;
  }
}

size_t ti_format_float(char out[32], float value)
{
  return shortest(out, value, 6, 9);
}

size_t ti_format_double(char out[32], double value)
{
  return shortest(out, value, 15, 17);
}

/* one conversion; fmt points behind the '%'; returns what follows it */
static const char *convert(sink *s, const char *fmt, va_list *ap)
{
  char buffer[64], *end = buffer + sizeof(buffer), *p;
  char pad = ' ';
  int width = 0, precision = -1, longs = 0, is_size = 0;

  if (*fmt == '0')
    pad = *fmt++;
  while (*fmt >= '0' && *fmt <= '9')
    width = width * 10 + (*fmt++ - '0');
  if (*fmt == '.') {
    fmt++;
    if (*fmt == '*') {
      precision = va_arg(*ap, int);
      fmt++;
    } else {
      for (precision = 0; *fmt >= '0' && *fmt <= '9';)
        precision = precision * 10 + (*fmt++ - '0');
    }
  }
  for (; *fmt == 'l'; fmt++)
    longs++;
  if (*fmt == 'z') {
    is_size = 1;
    fmt++;
  }
  switch (*fmt) {
  case 's': {
    const char *text = va_arg(*ap, const char *);

    if (!text)
      text = "(null)";
    put_padded(s, text, precision < 0 ? strlen(text) : strnlen(text, (size_t)precision), width,
               ' ');
    break;
  }
  case 'c':
    *buffer = (char)va_arg(*ap, int);
    put_padded(s, buffer, 1, width, ' ');
    break;
  case 'd': {
    const long long v = longs > 1 ? va_arg(*ap, long long)
                        : longs   ? va_arg(*ap, long)
                                  : va_arg(*ap, int);

    p = digits(end, v < 0 ? 0ull - (unsigned long long)v : (unsigned long long)v, 10);
    if (v < 0)
      *--p = '-';
    put_padded(s, p, (size_t)(end - p), width, pad);
    break;
  }
  case 'u':
  case 'x': {
    const unsigned long long v = is_size     ? va_arg(*ap, size_t)
                                 : longs > 1 ? va_arg(*ap, unsigned long long)
                                 : longs     ? va_arg(*ap, unsigned long)
                                             : va_arg(*ap, unsigned);

    p = digits(end, v, *fmt == 'u' ? 10 : 16);
    put_padded(s, p, (size_t)(end - p), width, pad);
    break;
  }
  case 'g': {
    const double v = va_arg(*ap, double);
    const int n = precision < 0 ? 6 : precision > 17 ? 17 : precision;

    put_padded(s, buffer, general(buffer, v, n ? n : 1), width, pad);
    break;
  }
  case '\0': return fmt;
  default: /* "%%" and anything unknown stand for themselves */ put(s, fmt, 1); break;
  }
  return fmt + 1;
}

size_t ti_vformat(char *out, size_t size, const char *fmt, va_list ap)
{
  sink s = { out, size, 0 };
  va_list args;

  va_copy(args, ap);
  while (*fmt) {
    if (*fmt == '%')
      fmt = convert(&s, fmt + 1, &args);
    else
      put(&s, fmt++, 1);
  }
  va_end(args);
  if (size)
    out[s.len < size ? s.len : size - 1] = '\0';
  return s.len;
}

size_t ti_format(char *out, size_t size, const char *fmt, ...)
{
  va_list ap;

  va_start(ap, fmt);
  const size_t len = ti_vformat(out, size, fmt, ap);
  va_end(ap);
  return len;
}
