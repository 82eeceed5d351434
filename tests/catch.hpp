// Catch2, version 2 or 3, whichever is there; and a visible skip.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdio>

// Ends a test case that cannot run here. scripts/test counts the line as a skip, not as a pass.
#define EVENTER_SKIP(reason)                                                                      \
  do {                                                                                            \
    std::printf("SKIP %s: %s\n", Catch::getResultCapture().getCurrentTestName().c_str(), reason); \
    std::fflush(stdout);                                                                          \
    SUCCEED(reason);                                                                              \
    return;                                                                                       \
  } while (false)
