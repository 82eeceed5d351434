// The floating-point environment, the exception globals and the shadow-stack check.
#include <cfenv>
#include <cstring>
#include <string>

#include "../catch.hpp"
#include "eventer/context/exception_state.hpp"
#include "eventer/context/fp_environment.hpp"
#include "eventer/context/shadow_stack.hpp"

namespace context = eventer::context;

TEST_CASE("the floating-point control bits are read, compared and loaded") {
  const auto before = context::fp_environment::current();
  CHECK(before == context::fp_environment::current());
  std::fesetround(FE_UPWARD);
  const auto upward = context::fp_environment::current();
  CHECK_FALSE(before == upward);
  before.load();
  CHECK(std::fegetround() == FE_TONEAREST);
  upward.load();
  CHECK(std::fegetround() == FE_UPWARD);
  before.load();
}

TEST_CASE("status flags do not count as a changed environment") {
  const auto before = context::fp_environment::current();
  volatile double one = 1.0, three = 3.0;
  [[maybe_unused]] volatile double inexact = one / three;
  CHECK(before == context::fp_environment::current());
}

TEST_CASE("exceptions set aside are away for the time of the object") {
  int anything = 0;
  context::exception_state thread{&anything, 2};
  CHECK(context::exceptions_in_use(&thread));
  {
    const context::exceptions_set_aside mine(&thread);
    CHECK_FALSE(context::exceptions_in_use(&thread));
    thread.uncaught = 1;  // one is on its way out
  }
  CHECK(thread.caught == &anything);
  CHECK(thread.uncaught == 3);
}

TEST_CASE("the thread's exception globals tell of exceptions in flight") {
  context::exception_state* const state = context::thread_exception_state();
  CHECK(state->caught == nullptr);
  try {
    throw 1;
  } catch (int) {
    CHECK(state->caught != nullptr);
  }
  CHECK(state->caught == nullptr);
}

TEST_CASE("an active shadow stack is refused with the remedy in the message") {
  CHECK(context::shadow_stack_refusal(false) == nullptr);
  CHECK(std::string(context::shadow_stack_refusal(true)).find("GLIBC_TUNABLES") != std::string::npos);
  CHECK(context::shadow_stack_active() == (context::shadow_stack_refusal() != nullptr));
}
