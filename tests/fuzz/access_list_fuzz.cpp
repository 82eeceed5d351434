// Any text as rules, a line each: a rule is refused with a reason, or lets in what it says. And as durations.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "eventer/listener/duration_text.hpp"
#include "eventer/net/access_list.hpp"

static void must(bool holds) {
  if (!holds) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using eventer::endpoint;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  eventer::access_list allowing, both;
  bool all_good = true;
  for (std::size_t begin = 0; begin < size;) {
    const std::size_t length = std::min(text.find('\n', begin), size) - begin;
    const std::string_view rule = text.substr(begin, length);
    begin += length + 1;
    eventer::access_list one;
    const std::string error = one.allow(rule);
    all_good = allowing.allow(rule).empty() && both.allow(rule).empty() && both.deny(rule).empty() && all_good;
    must(!one.empty() && error.size() < 500);
    if (const auto host = endpoint::from_host(rule.substr(0, rule.find('/')), 1)) {
      if (error.empty()) must(one.allows(*host) && !both.allows(*host));
      if (error.empty() && all_good) must(allowing.allows(*host));
    } else {
      must(!error.empty());  // no rule without an address in it
    }
    // Advice that is itself refused would be none. What is quoted may say anything.
    constexpr std::string_view advice = "did you mean ";
    const std::size_t meant = error.rfind(advice);
    if (error.ends_with("?") && meant != std::string::npos) {
      const std::string rest = error.substr(meant + advice.size());
      must(eventer::access_list().allow(std::string_view(rest).substr(0, rest.size() - 1)).empty());
    }
    if (const auto parsed = eventer::parse_duration(rule)) must(parsed->count() >= 0);
  }
  must(all_good || !allowing.allows(endpoint::parse("127.0.0.1:1").value()));
  return 0;
}
