// Who may connect, by address.
#include "eventer/net/access_list.hpp"

#include <string>
#include <vector>

#include "../catch.hpp"

using eventer::access_list;
using eventer::endpoint;
using rules = std::vector<std::string>;

static bool lets_in(const access_list& list, const char* host) {
  return list.allows(endpoint::from_host(host, 4711).value());
}

TEST_CASE("a rule holds for exactly the addresses of its network") {
  struct row {
    const char* rule;
    rules inside, outside;
  };
  for (const auto& [rule, inside, outside] : {
           row{"192.168.1.7",
               {"192.168.1.7", "::ffff:192.168.1.7"},
               {"192.168.1.6", "192.168.1.8", "::c0a8:107", "::1"}},
           row{"192.168.1.7/32", {"192.168.1.7"}, {"192.168.1.6"}},
           row{"10.0.0.0/8", {"10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"}, {"9.255.255.255", "11.0.0.0", "a00::"}},
           row{"10.16.0.0/12", {"10.16.0.0", "10.31.255.255"}, {"10.15.255.255", "10.32.0.0"}},
           row{"192.0.2.128/31", {"192.0.2.128", "192.0.2.129"}, {"192.0.2.127", "192.0.2.130"}},
           row{"128.0.0.0/1", {"128.0.0.0", "255.255.255.255"}, {"127.255.255.255", "::"}},
           row{"0.0.0.0/0", {"0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"}, {"::", "::1", "2001:db8::1"}},
           row{"::1", {"::1", "0:0:0:0:0:0:0:1"}, {"::", "::2", "127.0.0.1", "::ffff:127.0.0.1", "0.0.0.1"}},
           row{"fe80::/10", {"fe80::1", "fe80::1%2", "febf:ffff::"}, {"fe7f::", "fec0::"}},
           row{"2001:db8::/32", {"2001:db8::", "2001:db8:ffff::1"}, {"2001:db7:ffff::", "2001:db9::"}},
           row{"2001:db8:0:1::/64", {"2001:db8:0:1::", "2001:db8:0:1:ffff::"}, {"2001:db8:0:2::", "2001:db8::"}},
           row{"2001:db8::8/125", {"2001:db8::8", "2001:db8::f"}, {"2001:db8::7", "2001:db8::10"}},
           row{"8000::/1", {"8000::", "ffff::"}, {"7fff::", "128.0.0.1"}},
           row{"::/0", {"::", "2001:db8::1"}, {"127.0.0.1", "::ffff:127.0.0.1"}},
           row{"::ffff:10.0.0.1", {"10.0.0.1", "::ffff:10.0.0.1"}, {"10.0.0.2"}},
           row{"::ffff:10.0.0.0/104", {"10.255.0.1", "::ffff:10.1.2.3"}, {"11.0.0.0"}},
           row{"::ffff:0:0/96", {"0.0.0.0", "255.255.255.255"}, {"::1"}},
           row{"::fffe:0:0/95", {"::fffe:1:2"}, {"1.2.3.4", "::ffff:1.2.3.4"}},
       }) {
    CAPTURE(rule);
    access_list allowing, denying;
    CHECK(allowing.allow(rule) == "");
    CHECK(denying.deny(rule) == "");
    for (const std::string& host : inside) {
      CAPTURE(host);
      CHECK(lets_in(allowing, host.c_str()));
      CHECK_FALSE(lets_in(denying, host.c_str()));
    }
    for (const std::string& host : outside) {
      CAPTURE(host);
      CHECK_FALSE(lets_in(allowing, host.c_str()));
      CHECK(lets_in(denying, host.c_str()));
    }
  }
}

TEST_CASE("an empty list lets everybody in, a list that allows lets nobody else in, and who is denied stays out") {
  struct row {
    rules allow, deny, in, out;
  };
  for (const auto& [allow, deny, in, out] : {
           row{{}, {}, {"127.0.0.1", "::1", "8.8.8.8"}, {}},
           row{{"10.0.0.0/8", "::1"}, {}, {"10.1.1.1", "::1"}, {"127.0.0.1", "::2"}},
           row{{}, {"10.6.6.0/24"}, {"10.6.5.255", "::1", "10.6.7.0"}, {"10.6.6.0", "10.6.6.255", "::ffff:10.6.6.6"}},
           row{{"10.0.0.0/8"}, {"10.6.6.0/24"}, {"10.6.5.1"}, {"10.6.6.6", "11.0.0.1"}},
           row{{"10.6.6.6"},
               {"10.6.6.0/24"},
               {},
               {"10.6.6.6", "10.6.6.7", "1.1.1.1"}},  // the narrower one does not win
           row{{"0.0.0.0/0", "::/0"}, {"0.0.0.0/0"}, {"::1"}, {"127.0.0.1", "::ffff:127.0.0.1"}},
       }) {
    const access_list list = access_list::parse(allow, deny);
    CHECK(list.empty() == (allow.empty() && deny.empty()));
    for (const std::string& host : in) {
      CAPTURE(host);
      CHECK(lets_in(list, host.c_str()));
    }
    for (const std::string& host : out) {
      CAPTURE(host);
      CHECK_FALSE(lets_in(list, host.c_str()));
    }
  }
}

TEST_CASE("who has no IP address is let in by an empty list only") {
  for (const endpoint& peer :
       {endpoint(), endpoint::parse("unix:/run/x").value(), endpoint::parse("unix:@x").value()}) {
    CHECK(access_list().allows(peer));
    CHECK_FALSE(access_list::parse({"0.0.0.0/0", "::/0"}).allows(peer));
    CHECK_FALSE(access_list::parse({}, {"10.0.0.0/8"}).allows(peer));
  }
}

TEST_CASE("a rule that could mean something else is refused with its text and what was expected") {
  using namespace std::string_literals;
  struct row {
    std::string rule;
    const char* advice;
  };
  for (const auto& [rule, advice] : {
           row{"10.1.0.0/8", "did you mean 10.0.0.0/8?"},
           row{"10.0.0.1/31", "did you mean 10.0.0.0/31?"},
           row{"255.255.255.255/0", "did you mean 0.0.0.0/0?"},
           row{"fe80::1/10", "did you mean fe80::/10?"},
           row{"2001:db8::1/64", "did you mean 2001:db8::/64?"},
           row{"2001:db8::1/127", "did you mean 2001:db8::/127?"},
           row{"::ffff:10.0.0.0/8", "did you mean 10.0.0.0/8?"},
           row{"::ffff:10.1.0.0/8", "did you mean 10.0.0.0/8?"},
           row{"::ffff:10.1.0.0/104", "did you mean 10.0.0.0/8?"},
           row{"::ffff:0:0/95", "did you mean ::fffe:0:0/95?"},
           row{"10.0.0.0/33", "from 0 to 32"},
           row{"::1/129", "from 0 to 128"},
           row{"10.0.0.0/", "from 0 to 32"},
           row{"10.0.0.0/08", "from 0 to 32"},
           row{"10.0.0.0/-1", "from 0 to 32"},
           row{"10.0.0.0/+8", "from 0 to 32"},
           row{"10.0.0.0/8 ", "from 0 to 32"},
           row{"10.0.0.0/8/8", "from 0 to 32"},
           row{"10.0.0.0/255.0.0.0", "from 0 to 32"},
           row{"10.0.0.0/99999999999999999999", "from 0 to 32"},
           row{"::/\0"s, "from 0 to 128"},
           row{"010.1.1.1", "octal"},
           row{"10.1.1.01", "octal"},
           row{"10.00.1.1/8", "octal"},
           row{"fe80::1%eth0", "zone"},
           row{"fe80::%2/64", "zone"},
           row{"127.0.0.1:80", "port"},
           row{"[::1]", "brackets"},
           row{"[::1]:80", "brackets"},
           row{"", "10.0.0.0/8"},
           row{"/8", "10.0.0.0/8"},
           row{"10", "10.0.0.0/8"},
           row{"10.0.0/8", "10.0.0.0/8"},
           row{"10.1", "10.0.0.0/8"},
           row{"167772161", "10.0.0.0/8"},
           row{"0x0a000001", "10.0.0.0/8"},
           row{"256.0.0.1", "10.0.0.0/8"},
           row{" 10.0.0.1", "10.0.0.0/8"},
           row{"10.0.0.1 ", "10.0.0.0/8"},
           row{"10.0.0.1\0.2"s, "10.0.0.0/8"},
           row{"localhost", "10.0.0.0/8"},
           row{"*", "10.0.0.0/8"},
           row{"all", "10.0.0.0/8"},
           row{"::g", "10.0.0.0/8"},
           row{":::", "10.0.0.0/8"},
           row{"unix:/run/x", "10.0.0.0/8"},
       }) {
    CAPTURE(rule);
    access_list list;
    const std::string error = list.allow(rule);
    CAPTURE(error);
    CHECK(error.find(advice) != std::string::npos);
    CHECK(error.find(eventer::detail::quoted(rule)) == 0);
    CHECK_THROWS_AS(access_list::parse({}, {rule}), std::invalid_argument);
  }
}

TEST_CASE("a list that was given a bad rule lets nobody in, whoever looked at the error") {
  access_list list;
  CHECK(list.allow("127.0.0.1") == "");
  CHECK(list.deny("127.0.0.1/8") != "");
  CHECK_FALSE(lets_in(list, "127.0.0.1"));
  access_list only_bad;
  (void)only_bad.deny("nonsense");
  CHECK_FALSE(only_bad.empty());
  CHECK_FALSE(lets_in(only_bad, "127.0.0.1"));
  CHECK_FALSE(only_bad == access_list());
}

TEST_CASE("all bad rules of a list are named at once, as text that a terminal can be shown") {
  try {
    (void)access_list::parse({"10.1.0.0/8", "::1"}, {"\x1b[2J\"\\", std::string(100, 'x')});
    FAIL("no error");
  } catch (const std::invalid_argument& error) {
    CHECK(
        std::string(error.what()) ==
        "\"10.1.0.0/8\": the address goes on behind the prefix: did you mean 10.0.0.0/8?\n"
        "\"\\x1b[2J\\\"\\\\\": expected an address or a network such as 192.168.1.7, 10.0.0.0/8, ::1 or fe80::/10\n\"" +
            std::string(60, 'x') +
            "...\": expected an address or a network such as 192.168.1.7, 10.0.0.0/8, ::1 or fe80::/10");
  }
}

TEST_CASE("lists are equal where their rules are, however they are written") {
  const access_list list = access_list::parse({"10.0.0.0/8", "::1"}, {"10.6.6.6"});
  CHECK(list == access_list::parse({"::ffff:10.0.0.0/104", "0::1/128"}, {"10.6.6.6/32"}));
  CHECK_FALSE(list == access_list::parse({"10.0.0.0/8", "::1"}));
  CHECK_FALSE(list == access_list::parse({"10.0.0.0/9", "::1"}, {"10.6.6.6"}));
  CHECK_FALSE(access_list::parse({"10.0.0.0/8"}) == access_list::parse({}, {"10.0.0.0/8"}));
}

TEST_CASE("text of others is quoted so that it stays on its line") {
  struct row {
    std::string text, quoted;
  };
  for (const auto& [text, quoted] :
       {row{"", "\"\""}, row{"a\nb\x7f", "\"a\\x0ab\\x7f\""}, row{"ü", "\"ü\""}, row{"\xc2\x9b[", "\"\\xc2\\x9b[\""}})
    CHECK(eventer::detail::quoted(text) == quoted);
  CHECK(eventer::detail::quoted("aü", 2) == "\"a...\"");  // not inside a character
  CHECK(eventer::detail::quoted("\x80\x80\x80", 1) == "\"...\"");
}
