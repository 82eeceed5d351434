// For a child process: may run on one CPU only from now on.
#pragma once

#include <sched.h>

#include <cstddef>

// False where that is not allowed.
inline bool use_one_cpu() {
  cpu_set_t now, one;
  if (::sched_getaffinity(0, sizeof now, &now) != 0) return false;
  std::size_t first = 0;
  while (!CPU_ISSET(first, &now)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  return ::sched_setaffinity(0, sizeof one, &one) == 0;
}
