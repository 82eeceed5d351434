// access_list: who may connect, by address. It fails closed: a rule that could mean something else than was meant is
// refused, and a list that was given one lets nobody in.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "eventer/base/quoted.hpp"
#include "eventer/net/endpoint.hpp"

namespace eventer::inline EVENTER_ABI {

// Rules are addresses and networks in CIDR form: "192.168.1.7", "10.0.0.0/8", "::1", "fe80::/10". A denied address is
// refused, whatever is allowed. Where anything is allowed, all else is refused; an empty list lets everybody in.
//
// IPv4 rules hold for the same addresses where they come over IPv6 sockets, as ::ffff:10.0.0.1; a rule that is written
// so is the IPv4 rule. IPv6 rules, "::/0" too, hold for no IPv4 address. What has no IP address, such as a unix
// socket's peer, is let in by an empty list only. Zones of link-local peers are not looked at.
class access_list {
 public:
  access_list() = default;  // everybody

  // Both lists at once: access_list::parse({"10.0.0.0/8"}, {"10.6.6.0/24"}).
  // Errors: std::invalid_argument with a sentence for each rule that is none; without exceptions the process ends.
  static access_list parse(const std::vector<std::string>& allowed, const std::vector<std::string>& denied = {}) {
    access_list result;
    std::string errors;
    for (const std::string& rule : allowed) join(errors, result.allow(rule));
    for (const std::string& rule : denied) join(errors, result.deny(rule));
    if (!errors.empty()) refuse(errors);
    return result;
  }

  // Adds one rule. Returns: an empty string, or what is wrong with the rule as a sentence that quotes it; from then on
  // the list lets nobody in.
  [[nodiscard]] std::string allow(std::string_view rule) { return add(rule, allowed_); }
  [[nodiscard]] std::string deny(std::string_view rule) { return add(rule, denied_); }

  // Looks at one rule after the other, a nanosecond each: made for a handful. Any thread, while nobody adds rules.
  bool allows(const endpoint& peer) const noexcept {
    if (empty()) return true;
    network who;
    if (broken_ || !address_of(peer, who)) return false;
    return !matches(denied_, who) && (allowed_.empty() || matches(allowed_, who));
  }
  bool empty() const noexcept { return allowed_.empty() && denied_.empty() && !broken_; }

  // The same rules in the same order, however they are written.
  friend bool operator==(const access_list&, const access_list&) = default;

 private:
  // IPv4 lies in ::ffff:0:0/96. A peer's mask is all ones.
  struct network {
    std::uint64_t high = 0, low = 0;
    std::uint64_t high_mask = 0, low_mask = 0;
    bool v4 = false;
    friend bool operator==(const network&, const network&) = default;
  };
  static constexpr std::uint64_t v4_in_v6 = 0xffff'0000'0000;

  static std::uint64_t leading_ones(unsigned count) noexcept {
    return count == 0 ? 0 : ~std::uint64_t{0} << (64 - count);
  }
  static network network_of(const in6_addr& address, unsigned prefix) noexcept {
    network result;
    for (unsigned i = 0; i < 8; ++i) {
      result.high = result.high << 8 | address.s6_addr[i];
      result.low = result.low << 8 | address.s6_addr[i + 8];
    }
    result.high_mask = leading_ones(prefix < 64 ? prefix : 64);
    result.low_mask = leading_ones(prefix < 64 ? 0 : prefix - 64);
    result.v4 = result.high == 0 && (result.low & ~std::uint64_t{0xffff'ffff}) == v4_in_v6 && prefix >= 96;
    return result;
  }
  static network network_of(const in_addr& address, unsigned prefix) noexcept {
    return {0, v4_in_v6 | ntohl(address.s_addr), ~std::uint64_t{0}, leading_ones(prefix + 32), true};
  }
  static bool address_of(const endpoint& peer, network& into) noexcept {
    if (peer.family() == AF_INET) {
      sockaddr_in v4;
      std::memcpy(&v4, peer.data(), sizeof v4);
      into = network_of(v4.sin_addr, 32);
      return true;
    }
    if (peer.family() != AF_INET6) return false;
    sockaddr_in6 v6;
    std::memcpy(&v6, peer.data(), sizeof v6);
    into = network_of(v6.sin6_addr, 128);
    return true;
  }
  static bool matches(const std::vector<network>& rules, const network& who) noexcept {
    for (const network& rule : rules)
      if (rule.v4 == who.v4 && ((who.high ^ rule.high) & rule.high_mask) == 0 &&
          ((who.low ^ rule.low) & rule.low_mask) == 0)
        return true;
    return false;
  }

  std::string add(std::string_view rule, std::vector<network>& to) {
    network parsed;
    std::string error = parse_rule(rule, parsed);
    if (error.empty())
      to.push_back(parsed);
    else
      broken_ = true;
    return error;
  }
  static std::string parse_rule(std::string_view rule, network& into) {
    const auto refused = [rule](std::string_view why) { return detail::quoted(rule).append(": ").append(why); };
    constexpr std::string_view expected =
        "expected an address or a network such as 192.168.1.7, 10.0.0.0/8, ::1 or fe80::/10";
    const std::size_t slash = rule.find('/');
    const std::string address(rule.substr(0, slash));
    const std::string_view digits = slash == std::string_view::npos ? std::string_view() : rule.substr(slash + 1);
    if (address.find('\0') != std::string::npos) return refused(expected);
    if (address.find('%') != std::string::npos) return refused("a rule has no zone: leave out what begins with %");
    const bool v6 = address.find(':') != std::string::npos;
    if (!v6 && has_leading_zero(address))
      return refused("a number with a leading zero could be octal: leave out the zero");
    in_addr v4_address{};
    in6_addr v6_address{};
    if (::inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), v6 ? static_cast<void*>(&v6_address) : &v4_address) != 1)
      return refused(is_with_port(address) ? "a rule has neither port nor brackets: write the address alone"
                                           : expected);
    const unsigned longest = v6 ? 128 : 32;
    unsigned prefix = longest;
    if (slash != std::string_view::npos && !parse_prefix(digits, longest, prefix))
      return refused(v6 ? "expected a prefix length from 0 to 128 behind the slash"
                        : "expected a prefix length from 0 to 32 behind the slash");
    into = v6 ? network_of(v6_address, prefix) : network_of(v4_address, prefix);
    if ((into.high & ~into.high_mask) == 0 && (into.low & ~into.low_mask) == 0) return {};
    const bool mapped = v6 && network_of(v6_address, 128).v4;
    const bool v4_prefix = mapped && prefix <= 32;  // behind ::ffff:10.0.0.0
    if (v4_prefix) into = network_of(v6_address, prefix + 96);
    if (mapped && prefix >= 96) prefix -= 96;
    return refused(
        std::string("the address goes on behind the prefix: did you mean ").append(masked(into, prefix)).append("?"));
  }
  static bool has_leading_zero(std::string_view text) noexcept {
    for (std::size_t i = 0; i + 1 < text.size(); ++i)
      if (text[i] == '0' && text[i + 1] >= '0' && text[i + 1] <= '9' && (i == 0 || text[i - 1] == '.')) return true;
    return false;
  }
  static bool is_with_port(std::string_view address) noexcept {
    return address.starts_with('[') ||
           (address.find('.') != std::string_view::npos && address.find(':') != std::string_view::npos);
  }
  static bool parse_prefix(std::string_view digits, unsigned most, unsigned& into) noexcept {
    if (digits.size() > 1 && digits.front() == '0') return false;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), into);
    return !digits.empty() && error == std::errc() && end == digits.data() + digits.size() && into <= most;
  }
  static std::string masked(const network& from, unsigned prefix) {
    in6_addr address{};
    const std::uint64_t words[] = {from.high & from.high_mask, from.low & from.low_mask};
    for (unsigned i = 0; i < 16; ++i) address.s6_addr[i] = static_cast<std::uint8_t>(words[i / 8] >> (56 - i % 8 * 8));
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(from.v4 ? AF_INET : AF_INET6, from.v4 ? &address.s6_addr[12] : &address.s6_addr[0], text, sizeof text);
    return std::string(text).append("/").append(std::to_string(prefix));
  }

  static void join(std::string& to, const std::string& error) {
    if (!to.empty() && !error.empty()) to += '\n';
    to += error;
  }
  [[noreturn]] static void refuse(const std::string& errors) {
#if EVENTER_EXCEPTIONS
    throw std::invalid_argument(errors);
#else
    broken_rule(errors.c_str());
#endif
  }

  std::vector<network> allowed_, denied_;
  bool broken_ = false;  // a rule was refused
};

}  // namespace eventer::inline EVENTER_ABI
