/* The peak of this machine in fused multiply-adds of float, as a worker of run.py: every thread has
   independent accumulators in registers; the time of all threads together is taken.
   `--threads T` is its one option; it answers `run` with milliseconds for WORK operations. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define WIDTH 16
#define REGISTER "+v"
#elif defined(__AVX__)
#define WIDTH 8
#define REGISTER "+x"
#elif defined(__SSE__)
#define WIDTH 4
#define REGISTER "+x"
#else
#define WIDTH 4
#define REGISTER "+w"
#endif
#define CHAINS 12
#define ROUNDS 32000000L

typedef float vector __attribute__((vector_size(WIDTH * 4)));

static float sink[256];

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define START(i) vector sum##i = addend * (float)(i + 1);
#define STEP(i) sum##i = sum##i * factor + addend; __asm__ volatile("" : REGISTER(sum##i));
#define ADD(i) *(float *)where += sum##i[0];

static void *work(void *where) {
  vector factor, addend;
  for (int i = 0; i < WIDTH; ++i) factor[i] = 0.999f, addend[i] = 1e-3f;
  EACH(START)
  for (long round = 0; round < ROUNDS; ++round) { EACH(STEP) }
  EACH(ADD)
  return NULL;
}

static double milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static double run(int threads) {
  pthread_t others[256];
  double start = milliseconds();
  for (int t = 1; t < threads; ++t) pthread_create(&others[t], NULL, work, &sink[t]);
  work(&sink[0]);
  for (int t = 1; t < threads; ++t) pthread_join(others[t], NULL);
  return milliseconds() - start;
}

int main(int count, char **arguments) {
  int threads = 1;
  char line[64];
  for (int i = 1; i + 1 < count; ++i)
    if (!strcmp(arguments[i], "--threads")) threads = atoi(arguments[i + 1]);
  if (threads < 1 || threads > 256) return 1;
  run(threads);
  printf("ready gflop %.6f, vectors of %d floats, %d threads\n",
         2e-9 * WIDTH * CHAINS * ROUNDS * threads, WIDTH, threads);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    printf("%.4f\n", run(threads));
    fflush(stdout);
  }
  return 0;
}
