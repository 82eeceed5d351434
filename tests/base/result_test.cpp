// io_result and the library's error codes.
#include "eventer/base/result.hpp"

#include <memory>
#include <string>

#include "../catch.hpp"

using eventer::errc;
using eventer::io_result;

TEST_CASE("a result is a value or an error") {
  io_result<std::string> good = std::string("text");
  CHECK(good);
  CHECK(*good == "text");
  CHECK(good->size() == 4);
  CHECK_FALSE(good.error());
  io_result<std::string> bad = errc::closed;
  CHECK_FALSE(bad.has_value());
  CHECK(bad.error() == errc::closed);
  CHECK(std::move(bad).value_or("other") == "other");
}

TEST_CASE("value() of an error throws it") {
  const io_result<int> bad = errc::end_of_stream;
  CHECK_THROWS_AS(bad.value(), std::system_error);
  const io_result<void> nothing = errc::busy;
  CHECK_THROWS_AS(nothing.value(), std::system_error);
  CHECK_NOTHROW(io_result<void>().value());
}

TEST_CASE("results move, copy and assign") {
  io_result<std::unique_ptr<int>> a = std::make_unique<int>(3);
  io_result<std::unique_ptr<int>> b = std::move(a);
  CHECK(**b == 3);
  b = io_result<std::unique_ptr<int>>(errc::busy);
  CHECK(b.error() == errc::busy);
  io_result<std::string> c = std::string("kept");
  io_result<std::string> d = c;
  CHECK(*c == *d);
}

TEST_CASE("timeouts and cancellation equal the standard conditions") {
  CHECK(make_error_code(errc::timed_out) == std::errc::timed_out);
  CHECK(make_error_code(errc::canceled) == std::errc::operation_canceled);
  CHECK(make_error_code(errc::bad_address) == std::errc::invalid_argument);
  CHECK(make_error_code(errc::bad_proxy_header) == std::errc::protocol_error);
  CHECK(make_error_code(errc::closed) != std::errc::timed_out);
}

TEST_CASE("errors of another image's category compare by name") {
  static const eventer::error_category other_copy;
  CHECK(std::error_code(static_cast<int>(errc::busy), other_copy) == errc::busy);
  CHECK_FALSE(std::error_code(static_cast<int>(errc::busy), std::generic_category()) == errc::busy);
}

TEST_CASE("every error has a sentence") {
  for (int code = 1; code <= static_cast<int>(errc::exception); ++code)
    CHECK(std::error_code(code, eventer::eventer_category()).message() != "unknown eventer error");
}
