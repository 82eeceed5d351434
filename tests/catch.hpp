// Catch2, version 2 or 3, whichever is there; and a visible skip.
#pragma once

// Assertions catch no exceptions of their own, which saves an eighth of the compile time: one that is thrown in an
// assertion ends its test case, as anywhere else.
#ifndef CATCH_CONFIG_FAST_COMPILE
#define CATCH_CONFIG_FAST_COMPILE
#endif

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <cstdio>

// The tag [epoll] is for tests that know what epoll calls, or how many descriptors it takes: they are left out where
// all loops of a suite run on another reactor (EVENTER_REACTOR). [shared-stack] is for those that need shared stacks,
// or more coroutines than may have stacks of their own: they are left out in strict mode (EVENTER_STRICT).

// Ends a test case that cannot run here. scripts/test counts the line as a skip, not as a pass.
#define EVENTER_SKIP(reason)                                                                      \
  do {                                                                                            \
    std::printf("SKIP %s: %s\n", Catch::getResultCapture().getCurrentTestName().c_str(), reason); \
    std::fflush(stdout);                                                                          \
    SUCCEED(reason);                                                                              \
    return;                                                                                       \
  } while (false)

// The name of a function that a macro defines beside its test case: the body, which is compiled once where the case is
// a template over what it runs with.
#define TEST_BODY_JOINED(name, line) name##line
#define TEST_BODY_AT(line) TEST_BODY_JOINED(test_body_, line)
#define TEST_BODY TEST_BODY_AT(__LINE__)
