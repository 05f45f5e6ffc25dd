/* Double-precision exp, log, sine and cosine for the rotary tables; accurate to about 1e-15. */
#include "numeric.h"

#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10

/* Taylor series after reduction to |r| <= ln 2 / 2; exact power of two at the end. */
double exp_f64(double x) {
  if (x < -700.0) return 0.0;
  if (x > 700.0) x = 700.0;
  double n = __builtin_rint(x * 1.44269504088896338700);
  double r = (x - n * LN2_HIGH) - n * LN2_LOW;
  double sum = 1.0;
  for (int i = 17; i >= 1; i--) sum = 1.0 + sum * r / i;
  uint64_t bits = (uint64_t)((int64_t)n + 1023) << 52;
  double scale;
  __builtin_memcpy(&scale, &bits, 8);
  return sum * scale;
}

/* log(m 2^e) = e ln 2 + 2 artanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2)). */
double log_f64(double x) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, 8);
  int64_t exponent = (int64_t)(bits >> 52) - 1023;
  bits = (bits & 0x000fffffffffffffull) | 0x3ff0000000000000ull;
  double m;
  __builtin_memcpy(&m, &bits, 8);
  if (m > 1.41421356237309505) {
    m *= 0.5;
    exponent += 1;
  }
  double s = (m - 1.0) / (m + 1.0), s2 = s * s, sum = 0.0;
  for (int i = 23; i >= 1; i -= 2) sum = sum * s2 + 1.0 / i;
  return (double)exponent * LN2_LOW + (2.0 * s * sum + (double)exponent * LN2_HIGH);
}

/* Reduction by multiples of pi/2 in three parts, enough for |x| < 2^26 (positions are). */
void sin_cos_f64(double x, double *sine, double *cosine) {
  double n = __builtin_rint(x * 0.63661977236758134308);
  double r = ((x - n * 1.57079632673412561417) - n * 6.07710050630396597660e-11) -
             n * 2.02226624879595063154e-21;
  double r2 = r * r, s = 1.0, c = 1.0;
  for (int i = 10; i >= 1; i--) {
    s = 1.0 - s * r2 / (2 * i * (2 * i + 1));
    c = 1.0 - c * r2 / (2 * i * (2 * i - 1));
  }
  s *= r;
  switch ((int64_t)n & 3) {
    case 0: *sine = s; *cosine = c; break;
    case 1: *sine = c; *cosine = -s; break;
    case 2: *sine = -s; *cosine = -c; break;
    default: *sine = -c; *cosine = s; break;
  }
}
