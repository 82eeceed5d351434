// service_reader: the keys of a service's file, each with what it may hold, and what can't stand together.
#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/config/tls_reader.hpp"
#include "eventer/config/toml_keys.hpp"
#include "eventer/config/toml_reader.hpp"
#include "eventer/listener/listener_config.hpp"

namespace eventer::inline EVENTER_ABI::detail {

class service_reader {
 public:
  explicit service_reader(std::string file) : toml_(std::move(file)) {}

  service_config read(const toml::table& root) {
    for (const auto& [key, node] : root) {
      const std::string name = toml_reader::member_name({}, key.str());
      if (const auto* const known = find_key(service_keys(), key.str()))
        (this->*known->read)({node, name});
      else
        unknown(key, name, service_keys(), listener_keys(), "belongs to a [[listener]]: write it behind that line");
    }
    if (!root.contains("listener"))
      toml_.complain({1, 1}, "listener", "is missing: a service has at least one [[listener]]");
    toml_.finish();
    return std::move(service_);
  }

  // A key of a listener, perhaps from a table around it, whose keys hold for several.
  struct member {
    const toml::key& key;
    const toml::node& node;
    bool is_inherited = false;
  };
  // One listener from keys of several tables. `address`: where it is put together from what no key of ours says, else
  // empty. Errors: config_error.
  listener_config read_listener(std::span<const member> members, const toml::source_position& at,
                                const std::string& name, const std::string& address = {}) {
    listener(members, at, name, address);
    toml_.finish();
    return std::move(service_.listeners.back());
  }
  static std::vector<std::string_view> listener_key_names() {
    std::vector<std::string_view> names;
    for (const auto& each : listener_keys()) names.push_back(each.name);
    return names;
  }

 private:
  enum class address_kind { none, v4, v6, unix_file, unix_abstract, inherited };
  static bool is_unix(address_kind kind) noexcept {
    return kind == address_kind::unix_file || kind == address_kind::unix_abstract;
  }
  static bool is_not_v6(address_kind kind) noexcept { return is_unix(kind) || kind == address_kind::v4; }
  static bool is_without_file(address_kind kind) noexcept {
    return kind != address_kind::unix_file && kind != address_kind::none;
  }

  template <class Read>
  struct key_of {
    std::string_view name;
    Read read;
    // Whether it can't mean anything with an address of some kind, and then why.
    bool (*is_useless)(address_kind) noexcept;
    std::string_view because;
  };
  using service_key = key_of<void (service_reader::*)(const toml_value&)>;
  using listener_key = key_of<void (service_reader::*)(const toml_value&, listener_config&)>;
  static std::span<const service_key> service_keys() noexcept {
    static constexpr service_key keys[] = {{"loops", &service_reader::loops, nullptr, {}},
                                           {"drain_limit", &service_reader::drain_limit, nullptr, {}},
                                           {"drain_idle", &service_reader::drain_idle, nullptr, {}},
                                           {"listener", &service_reader::listeners, nullptr, {}}};
    return keys;
  }
  static std::span<const listener_key> listener_keys() noexcept {
    using reader = service_reader;
    constexpr std::string_view tcp = "is TCP's: it means nothing for a unix socket";
    constexpr std::string_view by_mode = "peers of a unix socket have no IP address: unix_mode says who may connect";
    static constexpr listener_key keys[] = {
        {"type", &reader::type, nullptr, {}},
        {"address", &reader::address, nullptr, {}},
        {"backlog", &reader::backlog, nullptr, {}},
        {"max_connections", &reader::max_connections, nullptr, {}},
        {"accept", &reader::accept, nullptr, {}},
        {"allow", &reader::allow, &reader::is_unix, by_mode},
        {"deny", &reader::deny, &reader::is_unix, by_mode},
        {"v6_only", &reader::v6_only, &reader::is_not_v6, "is for IPv6 addresses, such as [::]:80"},
        {"no_delay", &reader::no_delay, &reader::is_unix, tcp},
        {"keep_alive", &reader::keep_alive, &reader::is_unix, tcp},
        {"user_timeout", &reader::user_timeout, &reader::is_unix, tcp},
        {"defer_accept", &reader::defer_accept, &reader::is_unix, tcp},
        {"send_buffer", &reader::send_buffer, &reader::is_unix, tcp},
        {"receive_buffer", &reader::receive_buffer, &reader::is_unix, tcp},
        {"unix_mode", &reader::unix_mode, &reader::is_without_file,
         "is for a unix socket with a file of its own, such as unix:/run/x"},
        {"proxy_protocol", &reader::proxy, nullptr, {}},
        {"trusted_proxies", &reader::trusted_proxies, &reader::is_unix, by_mode},
        {"settings", &reader::settings, nullptr, {}},
        {"tls", &reader::tls, nullptr, {}},
    };
    return keys;
  }

  template <class Keys, class Others>
  void unknown(const toml::key& key, const std::string& name, Keys keys, Others others, std::string_view elsewhere) {
    const bool is_elsewhere = find_key(others, key.str()) != nullptr;
    toml_.complain(key.source().begin, name, is_elsewhere ? std::string(elsewhere) : unknown_key(key.str(), keys));
  }

  // --- the file as such ---

  void loops(const toml_value& from) { toml_.number(from, 0, 1024, service_.loops); }
  void drain_limit(const toml_value& from) { toml_.time(from, drain_range, service_.drain_limit); }
  void drain_idle(const toml_value& from) { toml_.time(from, drain_range, service_.drain_idle); }
  void listeners(const toml_value& from) {
    const toml::array* const array = from.node.as_array();
    if (array == nullptr) return toml_.expected(from, "[[listener]], with two brackets on each side");
    if (array->empty()) return toml_.complain(from, "is empty: a service has at least one [[listener]]");
    for (std::size_t i = 0; i < array->size(); ++i) {
      const std::string name = toml_reader::element_name(from.name, i);
      if (const toml::table* const table = (*array)[i].as_table())
        listener(members_of(*table), table->source().begin, name, {});
      else
        toml_.expected({(*array)[i], name}, "a table");
    }
  }

  // --- a listener ---

  static std::vector<member> members_of(const toml::table& table) {
    std::vector<member> all;
    for (const auto& [key, node] : table) all.push_back({key, node});
    return all;
  }
  static bool has(std::span<const member> members, std::string_view key) noexcept {
    for (const member& each : members)
      if (each.key.str() == key) return true;
    return false;
  }
  void listener(std::span<const member> members, const toml::source_position& at, const std::string& name,
                const std::string& address_elsewhere) {
    listener_config& into = service_.listeners.emplace_back();
    into.source = toml_.file() + ":" + std::to_string(at.line);
    into.address = address_elsewhere;
    std::string canonical;
    kind_ = address_elsewhere.empty() ? address_kind::none : kind_of(address_elsewhere, canonical);
    for (const member& each : members) {
      const std::string full = toml_reader::member_name(name, each.key.str());
      if (const auto* const known = find_key(listener_keys(), each.key.str()))
        (this->*known->read)({each.node, full}, into);
      else
        unknown(each.key, full, listener_keys(), service_keys(),
                "belongs to the top of the file: write it before the first [[listener]]");
    }
    for (const auto& [key, meaning] :
         {std::pair{"type", "the name of the function that serves it"}, {"address", addresses}})
      if (!has(members, key) && (std::string_view(key) == "type" || address_elsewhere.empty()))
        toml_.complain(at, toml_reader::member_name(name, key), std::string("is missing: expected ").append(meaning));
    check_together(members, name, into);
  }
  void check_together(std::span<const member> members, const std::string& name, const listener_config& read) {
    for (const auto& [key, node, is_inherited] : members) {
      const auto* const known = find_key(listener_keys(), key.str());
      if (known != nullptr && known->is_useless != nullptr && known->is_useless(kind_) && !is_inherited)
        toml_.complain(key.source().begin, toml_reader::member_name(name, key.str()), std::string(known->because));
      if (key.str() == "accept" && read.accept == accept_mode::per_loop &&
          (is_unix(kind_) || kind_ == address_kind::inherited))
        toml_.complain({node, toml_reader::member_name(name, key.str())},
                       "a unix or inherited socket is accepted on by one loop: write \"automatic\" or \"hand_over\"");
      if (key.str() == "trusted_proxies" && !has(members, "proxy_protocol"))
        toml_.complain(key.source().begin, toml_reader::member_name(name, key.str()),
                       "means nothing without proxy_protocol = \"required\"");
    }
  }

  void type(const toml_value& from, listener_config& into) {
    const auto* const value = from.node.as_string();
    if (value == nullptr || value->get().empty())
      return toml_.expected(from, "the name of the function that serves it");
    into.type = value->get();
  }
  void address(const toml_value& from, listener_config& into) {
    const auto* const value = from.node.as_string();
    std::string canonical;
    if (value != nullptr) kind_ = kind_of(value->get(), canonical);
    if (kind_ == address_kind::none) return toml_.expected(from, addresses);
    into.address = value->get();
    const toml::source_position at = from.node.source().begin;
    const auto [first, is_first] = addresses_.emplace(std::move(canonical), at.line);
    if (!is_first)
      toml_.complain(from, "is the address of the listener of line " + std::to_string(first->second) +
                               " already: expected a different one for each");
  }
  static address_kind kind_of(std::string_view text, std::string& canonical) {
    if (text.starts_with("fd:")) {  // as systemd's FileDescriptorName=
      const std::string_view name = text.substr(3);
      for (const char each : name)
        if (each <= ' ' || each > '~' || each == ':') return address_kind::none;
      canonical = text;
      return name.empty() || name.size() > 255 ? address_kind::none : address_kind::inherited;
    }
    const auto parsed = endpoint::parse(text);
    if (!parsed) return address_kind::none;
    canonical = parsed->to_string();
    if (parsed->family() == AF_UNIX) return canonical[5] == '@' ? address_kind::unix_abstract : address_kind::unix_file;
    return parsed->family() == AF_INET ? address_kind::v4 : address_kind::v6;
  }
  void backlog(const toml_value& from, listener_config& into) { toml_.number(from, 1, 65535, into.backlog); }
  void max_connections(const toml_value& from, listener_config& into) {
    toml_.number(from, 0, 1'000'000'000, into.max_connections);
  }
  void accept(const toml_value& from, listener_config& into) {
    static constexpr toml_choice<accept_mode> choices[] = {{"automatic", accept_mode::automatic},
                                                           {"per_loop", accept_mode::per_loop},
                                                           {"hand_over", accept_mode::hand_over}};
    toml_.choice(from, choices, into.accept);
  }
  void allow(const toml_value& from, listener_config& into) {
    toml_.texts(from, rules, [&](const std::string& rule) { return into.access.allow(rule); });
    if (const toml::array* const array = from.node.as_array(); array != nullptr && array->empty())
      toml_.complain(from, "is empty: nobody could mean everybody; leave it out, or write \"0.0.0.0/0\" and \"::/0\"");
  }
  void deny(const toml_value& from, listener_config& into) {
    toml_.texts(from, rules, [&](const std::string& rule) { return into.access.deny(rule); });
  }
  void v6_only(const toml_value& from, listener_config& into) { toml_.flag(from, into.v6_only); }
  void no_delay(const toml_value& from, listener_config& into) { toml_.flag(from, into.tcp.no_delay); }
  void keep_alive(const toml_value& from, listener_config& into) {
    toml_.time(from, keep_alive_range, into.tcp.keep_alive);
  }
  void user_timeout(const toml_value& from, listener_config& into) {
    toml_.time(from, user_timeout_range, into.tcp.user_timeout);
  }
  void defer_accept(const toml_value& from, listener_config& into) {
    toml_.time(from, defer_accept_range, into.tcp.defer_accept);
  }
  void send_buffer(const toml_value& from, listener_config& into) {
    toml_.number(from, 0, most_buffer, into.tcp.send_buffer);
  }
  void receive_buffer(const toml_value& from, listener_config& into) {
    toml_.number(from, 0, most_buffer, into.tcp.receive_buffer);
  }
  void unix_mode(const toml_value& from, listener_config& into) {
    const auto* const value = from.node.as_string();
    unsigned mode = 0;
    if (value != nullptr && value->get().size() == 4 && value->get()[0] == '0') {
      const char* const text = value->get().data();
      const auto [end, error] = std::from_chars(text, text + 4, mode, 8);
      if (error != std::errc() || end != text + 4) mode = 0;
    }
    if (mode == 0)
      return toml_.expected(from, "permissions in octal, as text from \"0001\" to \"0777\" such as \"0660\"");
    into.unix_mode = mode;
  }
  void proxy(const toml_value& from, listener_config& into) {
    static constexpr toml_choice<proxy_protocol> choices[] = {{"off", proxy_protocol::off},
                                                              {"required", proxy_protocol::required}};
    toml_.choice(from, choices, into.proxy);
  }
  void trusted_proxies(const toml_value& from, listener_config& into) {
    toml_.texts(from, rules, [&](const std::string& rule) { return into.trusted_proxies.allow(rule); });
    if (const toml::array* const array = from.node.as_array(); array != nullptr && array->empty())
      toml_.complain(from, "is empty: it would trust everybody; leave it out if that is meant");
  }
  void settings(const toml_value& from, listener_config& into) {
    const toml::table* const table = from.node.as_table();
    if (table == nullptr) return toml_.expected(from, "a table, [listener.settings]");
    for (const auto& [key, node] : *table) {
      std::string text;
      if (const auto* const value = node.as_string())
        text = value->get();
      else if (const auto* const number = node.as_integer())
        text = std::to_string(number->get());
      else if (const auto* const decimal = node.as_floating_point())
        text = toml_reader::decimal(decimal->get());
      else if (const auto* const flag = node.as_boolean())
        text = flag->get() ? "true" : "false";
      else
        toml_.expected({node, toml_reader::member_name(from.name, key.str())}, "text, a number, true or false");
      into.settings.emplace_back(key.str(), std::move(text));
    }
  }
  void tls(const toml_value& from, listener_config& into) { into.tls = tls_reader(toml_).read(from); }

  static constexpr std::int64_t most_buffer = 1 << 30;
  static constexpr std::string_view rules = "an array of addresses and networks, such as [\"10.0.0.0/8\", \"::1\"]";
  static constexpr const char* addresses =
      "an address: \"127.0.0.1:80\", \"[::1]:80\", \"unix:/run/x\", \"unix:@name\" or \"fd:NAME\"";
  static constexpr duration_range drain_range = {std::chrono::hours(24 * 365), duration(1),
                                                 "a duration with its unit, such as \"10s\""};
  static constexpr duration_range keep_alive_range = {
      std::chrono::seconds(32767), std::chrono::seconds(1),
      "a duration of whole seconds with its unit, \"1s\" to \"32767s\", or \"0s\" for none"};
  static constexpr duration_range user_timeout_range = {
      std::chrono::hours(24 * 24), std::chrono::milliseconds(1),
      "a duration of whole milliseconds with its unit, \"1ms\" to \"24d\", or \"0s\" for the kernel's"};
  static constexpr duration_range defer_accept_range = {
      std::chrono::hours(1), std::chrono::seconds(1),
      "a duration of whole seconds with its unit, \"1s\" to \"1h\", or \"0s\" for none"};

  toml_reader toml_;
  service_config service_;
  address_kind kind_ = address_kind::none;        // of the listener that is being read
  std::map<std::string, std::size_t> addresses_;  // and their lines
};

}  // namespace eventer::inline EVENTER_ABI::detail
