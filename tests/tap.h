/* tap.h: what a C test needs to speak TAP, the protocol that prove reads.
 *
 *     int main(void) {
 *       is_int(1 + 1, 2, "addition");
 *       return done();
 *     }
 */
#ifndef TAP_H
#define TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TAP_UNUSED __attribute__((unused))
#define TAP_PRINTF(text, first) __attribute__((format(printf, text, first)))

static int tap_count, tap_failures;

static void tap_line(bool passed, const char *format, va_list args) {
  tap_count++;
  if (!passed) tap_failures++;
  printf("%sok %d - ", passed ? "" : "not ", tap_count);
  vprintf(format, args);
  printf("\n");
  fflush(stdout);
}

TAP_UNUSED TAP_PRINTF(2, 3) static bool ok(bool passed, const char *format, ...) {
  va_list args;
  va_start(args, format);
  tap_line(passed, format, args);
  va_end(args);
  return passed;
}

TAP_UNUSED TAP_PRINTF(3, 4) static bool is_int(int64_t got, int64_t want, const char *format, ...) {
  va_list args;
  va_start(args, format);
  tap_line(got == want, format, args);
  va_end(args);
  if (got != want) printf("# got %lld, want %lld\n", (long long)got, (long long)want);
  return got == want;
}

TAP_UNUSED TAP_PRINTF(3, 4) static bool is_text(const char *got, const char *want,
                                                const char *format, ...) {
  bool same = got && want ? strcmp(got, want) == 0 : got == want;
  va_list args;
  va_start(args, format);
  tap_line(same, format, args);
  va_end(args);
  if (!same) printf("# got  %s\n# want %s\n", got ? got : "NULL", want ? want : "NULL");
  return same;
}

/* Within tolerance, which is absolute; NaN is near NaN alone. */
TAP_UNUSED TAP_PRINTF(4, 5) static bool near(double got, double want, double tolerance,
                                             const char *format, ...) {
  bool same = got == want || fabs(got - want) <= tolerance || (isnan(got) && isnan(want));
  va_list args;
  va_start(args, format);
  tap_line(same, format, args);
  va_end(args);
  if (!same) printf("# got %.17g, want %.17g, tolerance %g\n", got, want, tolerance);
  return same;
}

TAP_UNUSED static void skip(const char *name, const char *why) {
  tap_count++;
  printf("ok %d - %s # SKIP %s\n", tap_count, name, why);
  fflush(stdout);
}

/* Prints the plan. Its result is what main() returns. */
TAP_UNUSED static int done(void) {
  printf("1..%d\n", tap_count);
  return tap_failures > 0;
}

#endif
