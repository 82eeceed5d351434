// Section 0.1 of eventer_aco.h: differences of times, and what the clocks say.
#pragma once

#include <sys/time.h>
#include <time.h>

#include "eventer/compat/eventer_aco.h"

extern "C" {

int compare_timeval(struct timeval a, struct timeval b) {
  if (a.tv_sec != b.tv_sec) return a.tv_sec < b.tv_sec ? -1 : 1;
  return a.tv_usec == b.tv_usec ? 0 : a.tv_usec < b.tv_usec ? -1 : 1;
}

void sub_timeval(struct timeval a, struct timeval b, struct timeval* out) {
  out->tv_sec = a.tv_sec - b.tv_sec;
  out->tv_usec = a.tv_usec - b.tv_usec;
  if (out->tv_usec < 0) {
    out->tv_sec -= 1;
    out->tv_usec += 1000000;
  }
}

void add_timeval(struct timeval a, struct timeval b, struct timeval* out) {
  out->tv_sec = a.tv_sec + b.tv_sec;
  out->tv_usec = a.tv_usec + b.tv_usec;
  if (out->tv_usec >= 1000000) {
    out->tv_sec += 1;
    out->tv_usec -= 1000000;
  }
}

double sub_timeval_d(struct timeval a, struct timeval b) {
  struct timeval difference;
  sub_timeval(a, b, &difference);
  return static_cast<double>(difference.tv_sec) + static_cast<double>(difference.tv_usec) / 1e6;
}

int64_t sub_timeval_ms(struct timeval a, struct timeval b) {
  struct timeval difference;
  sub_timeval(a, b, &difference);
  return int64_t{difference.tv_sec} * 1000 + difference.tv_usec / 1000;
}

int mtev_gettimeofday(struct timeval* t, void* ttp) { return ::gettimeofday(t, ttp); }

uint64_t mtev_now_us(void) {
  struct timeval now;
  ::gettimeofday(&now, nullptr);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_usec);
}

uint64_t mtev_now_ms(void) { return mtev_now_us() / 1000; }

mtev_hrtime_t mtev_gethrtime(void) {
  struct timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<mtev_hrtime_t>(now.tv_sec) * 1000000000 + static_cast<mtev_hrtime_t>(now.tv_nsec);
}

}  // extern "C"
