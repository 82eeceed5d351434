// Addresses as text and back.
#include <string>

#include "../catch.hpp"
#include "eventer/eventer.hpp"

using eventer::endpoint;

TEST_CASE("an address that is parsed and printed is the same text") {
  for (const char* const text : {"127.0.0.1:80", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80", "[::]:0",
                                 "[2001:db8::1]:443", "[fe80::1%2]:80", "[::ffff:10.0.0.1]:8080", "unix:/run/app.sock",
                                 "unix:relative", "unix:@abstract", "unix:/with:colon"}) {
    CAPTURE(text);
    const auto parsed = endpoint::parse(text);
    REQUIRE(parsed.has_value());
    CHECK(parsed->to_string() == text);
    CHECK(*parsed == *endpoint::parse(parsed->to_string()));
  }
}

TEST_CASE("the port and the family of an address") {
  struct expected {
    const char* text;
    int family, port;
  };
  for (const auto& [text, family, port] :
       {expected{"127.0.0.1:7777", AF_INET, 7777}, expected{"[::1]:65535", AF_INET6, 65535},
        expected{"127.0.0.1:0", AF_INET, 0}, expected{"unix:/x", AF_UNIX, 0}}) {
    CAPTURE(text);
    const auto parsed = endpoint::parse(text).value();
    CHECK(parsed.family() == family);
    CHECK(parsed.port() == port);
  }
}

TEST_CASE("the host and the path of an address, and an address from a host") {
  struct expected {
    const char *text, *host, *path;
  };
  for (const auto& [text, host, path] : {expected{"127.0.0.1:80", "127.0.0.1", ""}, expected{"[::1]:80", "::1", ""},
                                         expected{"[fe80::1%2]:80", "fe80::1%2", ""},
                                         expected{"unix:/run/x", "", "/run/x"}, expected{"unix:@name", "", "@name"}}) {
    CAPTURE(text);
    const auto parsed = endpoint::parse(text).value();
    CHECK(parsed.host() == host);
    CHECK(parsed.path() == path);
    if (parsed.family() != AF_UNIX) CHECK(endpoint::from_host(host, 80).value() == parsed);
  }
  CHECK(endpoint().host().empty());
  CHECK(endpoint().path().empty());
  for (const char* const text : {"", "localhost", "[::1]", "127.0.0.1:80", "::g", "127.1"})
    CHECK(endpoint::from_host(text, 1).error() == eventer::errc::bad_address);
}

TEST_CASE("text that is no address is refused with advice") {
  using namespace std::string_literals;
  const std::string too_long = "unix:/" + std::string(200, 'x');
  for (const std::string& text : {""s,
                                  ":"s,
                                  ":80"s,
                                  "80"s,
                                  "127.0.0.1"s,
                                  "127.0.0.1:"s,
                                  "127.0.0.1:65536"s,
                                  "127.0.0.1:-1"s,
                                  "127.0.0.1:+80"s,
                                  "127.0.0.1: 80"s,
                                  "127.0.0.1:80 "s,
                                  " 127.0.0.1:80"s,
                                  "127.0.0.1:0x50"s,
                                  "127.0.0.1:http"s,
                                  "127.0.0:80"s,
                                  "127.0.0.256:80"s,
                                  "127.0.0.1.1:80"s,
                                  "localhost:80"s,
                                  "*:80"s,
                                  "::1:80"s,
                                  "[::1]"s,
                                  "[::1]:"s,
                                  "[::1]80"s,
                                  "[::1:80"s,
                                  "::1]:80"s,
                                  "[]:80"s,
                                  "[127.0.0.1]:80"s,
                                  "[::1%]:80"s,
                                  "[::1%x]:80"s,
                                  "[::g]:80"s,
                                  "[::1]x:80"s,
                                  "unix:"s,
                                  too_long,
                                  "unix:/a\0b"s,
                                  "127.0.0.1\0x:80"s,
                                  "[::1\0]:80"s,
                                  "UNIX:/x"s,
                                  "127.0.0.1:99999999999999999999"s}) {
    CAPTURE(text);
    const auto parsed = endpoint::parse(text);
    CHECK_FALSE(parsed.has_value());
    CHECK(parsed.error() == eventer::errc::bad_address);
    CHECK(parsed.error() == std::errc::invalid_argument);
  }
  CHECK(endpoint::parse("nonsense").error().message().find("127.0.0.1:80") != std::string::npos);
}

TEST_CASE("an endpoint without an address is harmless") {
  const endpoint none;
  CHECK(none.to_string() == "(no address)");
  CHECK(none.port() == 0);
  CHECK(none == endpoint());
  CHECK_FALSE(none == *endpoint::parse("127.0.0.1:80"));
  CHECK_FALSE(*endpoint::parse("127.0.0.1:80") == *endpoint::parse("127.0.0.1:81"));
  CHECK(eventer::tcp_stream::connect(none).error() == eventer::errc::bad_address);
  CHECK_FALSE(eventer::tcp_acceptor::listen(none).has_value());
}

TEST_CASE("an unnamed unix socket prints as such, and an abstract name keeps all its bytes") {
  sockaddr_un unnamed{};
  unnamed.sun_family = AF_UNIX;
  const endpoint nameless(reinterpret_cast<const sockaddr*>(&unnamed), sizeof(sa_family_t));
  CHECK(nameless.to_string() == "unix:");
  CHECK(nameless.path().empty());
  const auto a = endpoint::parse("unix:@name").value(), b = endpoint::parse("unix:@name2").value();
  CHECK_FALSE(a == b);
  CHECK(a.size() == offsetof(sockaddr_un, sun_path) + 5);
}
