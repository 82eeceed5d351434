// endpoint: an address to connect to, to listen on or to send to, IPv4, IPv6 or a unix path; parsed from text without
// looking up names (resolver.hpp does that).
#pragma once

#include <arpa/inet.h>
#include <sys/un.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "eventer/base/result.hpp"
#include "eventer/base/syscalls.hpp"

namespace eventer::inline EVENTER_ABI {

class endpoint {
 public:
  endpoint() noexcept { std::memset(&storage_, 0, sizeof storage_); }
  endpoint(const sockaddr* address, socklen_t size) noexcept : endpoint() {
    resize(size);
    std::memcpy(&storage_, address, size_);
  }

  // Asked of the kernel: the socket's own address, or its peer's; one without address where there is none.
  static endpoint local_of(int fd) noexcept { return asked(&syscalls::getsockname, fd); }
  static endpoint peer_of(int fd) noexcept { return asked(&syscalls::getpeername, fd); }

  // "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80" or "unix:/run/x" ("unix:@name" is Linux's abstract namespace). Port 0
  // lets the kernel choose. Errors: bad_address.
  static io_result<endpoint> parse(std::string_view text) {
    if (text.find('\0') != std::string_view::npos) return errc::bad_address;  // the C functions below would stop there
    if (text.starts_with("unix:")) return parse_unix(text.substr(5));
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return errc::bad_address;
    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return errc::bad_address;
    const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    return bracketed ? parse_v6(host, port) : parse_v4(host, port);
  }
  // From what host() gives: "127.0.0.1", "::1", "fe80::1%2", without brackets. Errors: bad_address.
  static io_result<endpoint> from_host(std::string_view host, std::uint16_t port) {
    if (host.find('\0') != std::string_view::npos) return errc::bad_address;
    return host.find(':') != std::string_view::npos ? parse_v6(host, port) : parse_v4(host, port);
  }

  // What parse() takes.
  std::string to_string() const {
    switch (family()) {
      case AF_INET:
        return host().append(":").append(std::to_string(port()));
      case AF_INET6:
        return std::string("[").append(host()).append("]:").append(std::to_string(port()));
      case AF_UNIX:
        return std::string("unix:").append(path());
      default:
        return "(no address)";
    }
  }
  // The address without port and brackets: "127.0.0.1", "::1", "fe80::1%2". Empty for a unix path.
  std::string host() const {
    char text[INET6_ADDRSTRLEN] = "";
    if (family() == AF_INET) ::inet_ntop(AF_INET, &as<sockaddr_in>().sin_addr, text, sizeof text);
    if (family() != AF_INET6) return text;
    const auto& v6 = as<sockaddr_in6>();
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return v6.sin6_scope_id == 0 ? text : std::string(text).append("%").append(std::to_string(v6.sin6_scope_id));
  }
  // Of a unix socket: "/run/x", or "@name" for an abstract one. Empty for one without a name, and for other families.
  std::string path() const {
    constexpr std::size_t start = offsetof(sockaddr_un, sun_path);
    if (family() != AF_UNIX || size_ <= start) return {};
    const char* const name = as<sockaddr_un>().sun_path;
    const std::size_t length = size_ - start;
    return name[0] == '\0' ? std::string("@").append(name + 1, length - 1) : std::string(name, ::strnlen(name, length));
  }
  // 0 for a unix path.
  std::uint16_t port() const noexcept {
    if (family() == AF_INET) return ntohs(as<sockaddr_in>().sin_port);
    if (family() == AF_INET6) return ntohs(as<sockaddr_in6>().sin6_port);
    return 0;
  }
  // Whether it is reached from this machine alone: 127.0.0.0/8, also as ::ffff:127.0.0.1, ::1, and unix sockets.
  bool is_loopback() const noexcept {
    if (family() == AF_INET) return (ntohl(as<sockaddr_in>().sin_addr.s_addr) >> 24) == 127;
    if (family() != AF_INET6) return family() == AF_UNIX;
    const in6_addr& v6 = as<sockaddr_in6>().sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
  }
  int family() const noexcept { return storage_.generic.ss_family; }
  const sockaddr* data() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const noexcept { return size_; }

  // For calls that write an address: room for one of any kind, and then how much of it was used.
  sockaddr* data() noexcept { return reinterpret_cast<sockaddr*>(&storage_); }
  static constexpr socklen_t capacity() noexcept { return sizeof(storage); }
  void resize(socklen_t size) noexcept { size_ = size < capacity() ? size : capacity(); }

  friend bool operator==(const endpoint& a, const endpoint& b) noexcept {
    return a.size_ == b.size_ && std::memcmp(&a.storage_, &b.storage_, a.size_) == 0;
  }

 private:
  static endpoint asked(int (*ask)(int, sockaddr*, socklen_t*), int fd) noexcept {
    endpoint result;
    socklen_t size = capacity();
    if (fd < 0 || ask(fd, result.data(), &size) != 0) return {};
    result.resize(size);
    return result;
  }

  static io_result<endpoint> parse_v4(std::string_view host, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (::inet_pton(AF_INET, std::string(host).c_str(), &address.sin_addr) != 1) return errc::bad_address;
    return endpoint(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  static io_result<endpoint> parse_v6(std::string_view host, std::uint16_t port) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    if (const std::size_t percent = host.find('%'); percent != std::string_view::npos) {
      const std::string_view scope = host.substr(percent + 1);
      const auto [end, error] = std::from_chars(scope.data(), scope.data() + scope.size(), address.sin6_scope_id);
      if (scope.empty() || error != std::errc() || end != scope.data() + scope.size()) return errc::bad_address;
      host = host.substr(0, percent);
    }
    if (::inet_pton(AF_INET6, std::string(host).c_str(), &address.sin6_addr) != 1) return errc::bad_address;
    return endpoint(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  static io_result<endpoint> parse_unix(std::string_view path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) return errc::bad_address;
    std::memcpy(address.sun_path, path.data(), path.size());
    const bool abstract = path.front() == '@';
    if (abstract) address.sun_path[0] = '\0';
    const std::size_t size = offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1);
    return endpoint(reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(size));
  }

  template <class Address>
  const Address& as() const noexcept {
    return reinterpret_cast<const Address&>(storage_);
  }

  union storage {
    sockaddr_storage generic;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un path;
  } storage_;
  socklen_t size_ = 0;
};

}  // namespace eventer::inline EVENTER_ABI
