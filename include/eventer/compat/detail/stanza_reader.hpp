// stanza_reader: a listener's keys, libmtev's and ours, into a listener_config. Where both say the same the key is
// taken here: an address with its port apart, say; what is ours alone is service_reader's.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/compat/detail/listener_stanzas.hpp"
#include "eventer/compat/detail/properties.hpp"

namespace eventer::inline EVENTER_ABI::compat {

struct stanza_config {
  listener_config listener;
  std::string address;  // as it is written, without the port
  int port = -1;        // -1: of a unix socket
  bool fans_out = false;
  bool accepts_on_all = false;  // its `accept` says how
  std::string pool;             // empty: the default one
  std::vector<std::pair<std::string, std::string>> config;
  duration idle_timeout{};
};

class stanza_reader {
 public:
  using member = detail::service_reader::member;

  // Errors: config_error.
  static stanza_config read(const listener_stanza& stanza, const std::string& file) {
    stanza_reader work(stanza, file);
    work.read_all();
    return std::move(work.result_);
  }
  // Whether the environment is as every condition says: NAME, !NAME, NAME=value, NAME!=value.
  static bool is_wanted(const listener_stanza& stanza) {
    for (const std::string& each : stanza.conditions) {
      if (is_regex(each)) continue;  // read() complains
      const bool is_not = each.starts_with("!");
      const std::size_t equals = each.find('=');
      const bool differs = equals != std::string::npos && equals > 0 && each[equals - 1] == '!';
      const std::string name = each.substr(is_not ? 1 : 0, equals - (differs ? 1 : 0) - (is_not ? 1 : 0));
      const char* const value = std::getenv(name.c_str());
      const bool holds = equals == std::string::npos
                             ? value != nullptr
                             : (value != nullptr && each.substr(equals + 1) == value) != differs;
      if (holds == is_not) return false;
    }
    return true;
  }

 private:
  using reader = detail::toml_reader;

  stanza_reader(const listener_stanza& stanza, const std::string& file) : stanza_(stanza), toml_(file), ours_(file) {}

  static bool is_regex(const std::string& condition) {
    const std::size_t at = condition.find_first_of("=~");
    return at != std::string::npos && (condition[at] == '~' || condition.substr(at, 2) == "=~");
  }

  void read_all() {
    for (const std::string& each : stanza_.conditions)
      if (is_regex(each))
        toml_.complain(stanza_.at, reader::member_name(stanza_.name, "require_env"),
                       detail::quoted(each) + ": expected NAME, !NAME, NAME=value or NAME!=value");
    std::vector<member> ours;
    std::string address;
    if (const member* const written = find(stanza_.keys, "address"))
      address = take_address(*written);
    else if (find(stanza_.keys, "port") != nullptr)
      address = with_port("*", stanza_.at);
    for (const auto& [name, each] : stanza_.keys) take(name, each, ours, address.empty());
    read_config();
    std::optional<tls_config> tls;
    if (speaks_tls_) tls = read_sslconfig();
    toml_.finish();
    result_.listener = ours_.read_listener(ours, stanza_.at, stanza_.name, address);
    if (tls) {
      leave_out_http2(*tls);
      result_.listener.tls = std::move(tls);
    }
    if (backlog_) result_.listener.backlog = *backlog_;
    if (no_delay_) result_.listener.tcp.no_delay = *no_delay_;
    for (const auto& [key, value] : result_.listener.settings) put_config(key, value);
    if (result_.address.empty()) take_apart(result_.listener.address);
  }

  // --- keys ---

  void take(const std::string& name, const member& from, std::vector<member>& ours, bool address_is_ours) {
    if (name == "address") {
      if (address_is_ours) ours.push_back(from);
    } else if (name == "backlog") {
      backlog_ = number(from, stanza_.name, 1, 65535);
    } else if (name == "ssl") {
      speaks_tls_ = flag(from).value_or(false);
    } else if (name == "fanout") {
      result_.fans_out = flag(from).value_or(false);
    } else if (name == "fanout_pool") {
      result_.pool = text(from, stanza_.name, "the name of a pool of loops").value_or("");
    } else if (name == "accept_thread") {
      (void)flag(from);  // loops accept here
    } else if (name == "config" || name == "sslconfig") {
      expected(from, stanza_.name, "a table");
    } else if (name == "require_env") {
      expected(from, stanza_.name, "the name of a variable, in quotes");
    } else if (name != "port") {
      if (name == "accept") result_.accepts_on_all = true;
      if (is_known(name)) return ours.push_back(from);
      toml_.complain(from.key.source().begin, reader::member_name(stanza_.name, name), why_unknown(name));
    }
  }
  static std::vector<std::string_view> known_names() {
    std::vector<std::string_view> all = detail::service_reader::listener_key_names();
    for (const std::string_view each :
         {"port", "ssl", "fanout", "fanout_pool", "accept_thread", "require_env", "config", "sslconfig"})
      all.push_back(each);
    return all;
  }
  static bool is_known(std::string_view name) {
    const std::vector<std::string_view> all = known_names();
    return std::find(all.begin(), all.end(), name) != all.end();
  }
  static std::string why_unknown(std::string_view name) {
    const std::string_view nearest = detail::nearest_name(name, known_names());
    std::string message = "unknown key; ";
    if (!nearest.empty()) return message.append("did you mean ").append(nearest).append("?");
    return message.append("what is the program's own belongs into its config table");
  }

  // --- address and port ---

  // The address as ours are written; empty: it is one already.
  std::string take_address(const member& from) {
    const auto written =
        text(from, stanza_.name, "an address, such as \"*\", \"inet6:*\", \"127.0.0.1\" or \"/run/x\"");
    if (!written) return {};
    if (written->starts_with("/")) {
      result_.address = *written;
      return "unix:" + *written;
    }
    const bool has_port = find(stanza_.keys, "port") != nullptr;
    const bool is_ours = written->starts_with("unix:") || written->starts_with("fd:") ||
                         (written->find(':') != std::string::npos && endpoint::parse(*written).has_value());
    const member* const port = find(stanza_.keys, "port");
    if (is_ours && (!has_port || port->is_inherited)) return {};
    return with_port(*written, from.node.source().begin);
  }
  std::string with_port(const std::string& written, const toml::source_position& at) {
    const auto complain = [&](std::string message) {
      toml_.complain(at, reader::member_name(stanza_.name, "address"), std::move(message));
      return std::string("127.0.0.1:1");  // so that nothing else is complained of for want of it
    };
    const member* const port = find(stanza_.keys, "port");
    if (port == nullptr) {
      toml_.complain(stanza_.at, reader::member_name(stanza_.name, "port"),
                     "is missing: expected a number from 1 to 65535, or 0 for one that the kernel chooses");
      return "127.0.0.1:1";
    }
    result_.address = written;
    result_.port = number(*port, stanza_.name, 0, 65535).value_or(0);
    const bool says_v4 = written.starts_with("inet:"), says_v6 = written.starts_with("inet6:");
    std::string host = written.substr(says_v4 ? 5 : says_v6 ? 6 : 0);
    if (host == "*") host = says_v6 ? "::" : "0.0.0.0";
    const auto parsed = endpoint::from_host(host, static_cast<std::uint16_t>(result_.port));
    const bool is_right =
        parsed && !(says_v4 && parsed->family() != AF_INET) && !(says_v6 && parsed->family() != AF_INET6);
    if (!is_right)
      return complain(
          "expected \"*\", \"inet:*\", \"inet6:*\", an IPv4 or IPv6 address, or a path that begins with /, got " +
          detail::quoted(written));
    return parsed->to_string();
  }
  // For mtev_listener_skip.
  void take_apart(const std::string& written) {
    const auto parsed = endpoint::parse(written);
    if (!parsed || parsed->family() == AF_UNIX) {
      result_.address = parsed ? parsed->path() : written;
      return;
    }
    result_.address = parsed->host();
    result_.port = parsed->port();
  }

  // --- the config table ---

  void put_config(const std::string& key, const std::string& value) {
    for (auto& [known, text] : result_.config)
      if (known == key) {
        text = value;
        return;
      }
    result_.config.emplace_back(key, value);
  }
  void read_config() {
    const std::string name = reader::member_name(stanza_.name, "config");
    for (const auto& [key, each] : stanza_.config) {
      const auto value = text(each, name, "text, a number, true or false");
      if (!value) continue;
      put_config(key, *value);
      if (key == "no_delay") no_delay_ = *value != "off" && *value != "false";
      if (key == "idle_timeout")
        result_.idle_timeout = std::chrono::milliseconds(number(each, name, 0, 1'000'000'000).value_or(0));
    }
  }

  // --- the sslconfig table ---

  tls_config read_sslconfig() {
    const std::string name = reader::member_name(stanza_.name, "sslconfig");
    tls_config result;
    result.source = toml_.file() + ":" + std::to_string(stanza_.at.line);
    for (const auto& [key, each] : stanza_.sslconfig) read_ssl_key(key, each, name, result);
    for (const auto& [key, file] :
         {std::pair{"certificate_file", &result.main.certificate}, {"key_file", &result.main.key}})
      if (file->empty()) toml_.complain(stanza_.at, reader::member_name(name, key), "is missing: expected a PEM file");
    return result;
  }
  void read_ssl_key(const std::string& key, const member& from, const std::string& name, tls_config& into) {
    const auto file = [&] { return text(from, name, "the name of a PEM file").value_or(""); };
    if (key == "certificate_file" || key == "certificate") {
      into.main.certificate = file();
    } else if (key == "key_file" || key == "key") {
      into.main.key = file();
    } else if (key == "ca_chain" || key == "ca_file") {
      into.client_ca = file();
      into.client_certificates = tls_client_certificates::optional;
    } else if (key == "ciphers") {
      into.ciphers = text(from, name, "ciphers as OpenSSL writes them").value_or("");
    } else if (key == "layer") {
      read_layer(from, name, into);
    } else if (key == "alpn" || key == "npn") {
      read_alpn(from, name, into);
    } else if (key == "crl") {
      toml_.complain(from.key.source().begin, reader::member_name(name, key),
                     "revocation lists are not looked at here, and nobody is to believe that they are: leave it out");
    } else if (key == "ca_accept" || key == "optional_no_ca" || key == "ignore_dates") {
      mtevL(mtev_notice, "listener: %s:%zu: %s.%s is ignored: who sends a certificate must send one that verifies\n",
            toml_.file().c_str(), static_cast<std::size_t>(from.key.source().begin.line), name.c_str(), key.c_str());
    } else {
      static constexpr std::string_view known[] = {"certificate_file", "certificate", "key_file", "key",  "ca_chain",
                                                   "ca_file",          "ciphers",     "layer",    "alpn", "npn"};
      const std::string_view nearest = detail::nearest_name(key, known);
      toml_.complain(from.key.source().begin, reader::member_name(name, key),
                     nearest.empty()
                         ? "unknown key; expected certificate_file, key_file, ca_chain, ciphers, layer or alpn"
                         : std::string("unknown key; did you mean ").append(nearest).append("?"));
    }
  }
  // Our server does not speak it, and a client that is offered it takes it.
  void leave_out_http2(tls_config& from) {
    const std::string& type = result_.listener.type;
    if (type != "http_rest_api" && type != "control_dispatch") return;
    if (std::erase(from.alpn, "h2") > 0)
      mtevL(mtev_notice, "listener: %s:%zu: HTTP/2 is not there yet: \"h2\" is left out of alpn\n",
            toml_.file().c_str(), static_cast<std::size_t>(stanza_.at.line));
  }
  // TLSv1.2 is the least that is spoken: what asks for more of it, or names all of TLS 1, gets that.
  void read_layer(const member& from, const std::string& name, tls_config& into) {
    std::string layer = text(from, name, layers).value_or("tls");
    for (char& each : layer) each = each >= 'A' && each <= 'Z' ? static_cast<char>(each - 'A' + 'a') : each;
    const std::string_view first = std::string_view(layer).substr(0, layer.find_first_of(":,"));
    if (first == "tlsv1.3" || layer.find(">=tlsv1.3") != std::string::npos)
      into.min_version = tls_min_version::tls_1_3;
    else if (first != "tls" && first != "tlsv1" && first != "tlsv1.2")
      expected(from, name, layers);
  }
  static constexpr std::string_view layers = "\"TLSv1.2\" or \"TLSv1.3\", the least that is spoken";
  // "h2,http/1.1", an array of them, or "none".
  void read_alpn(const member& from, const std::string& name, tls_config& into) {
    const std::string full = reader::member_name(name, from.key.str());
    if (from.node.is_array())
      return toml_.texts({from.node, full}, "an array of protocols", [&](const std::string& each) {
        into.alpn.push_back(each);
        return std::string();
      });
    std::string all = text(from, name, "protocols, such as \"http/1.1\", or \"none\"").value_or("none");
    if (all == "none") return;
    while (!all.empty()) {
      const std::size_t end = all.find(',');
      into.alpn.push_back(all.substr(0, end));
      all.erase(0, end == std::string::npos ? end : end + 1);
    }
  }

  // --- values: as themselves, or as text ---

  static const member* find(const stanza_keys& in, std::string_view name) {
    const auto found = in.find(name);
    return found == in.end() ? nullptr : &found->second;
  }
  void expected(const member& from, const std::string& table, std::string_view what) {
    const std::string name = reader::member_name(table, from.key.str());
    toml_.expected({from.node, name}, what);
  }
  std::optional<std::string> text(const member& from, const std::string& table, std::string_view what) {
    auto value = text_of_value(from.node);
    if (!value) expected(from, table, what);
    return value;
  }
  std::optional<int> number(const member& from, const std::string& table, int least, int most) {
    const auto value = text_of_value(from.node);
    const auto read = value ? number_in(*value, static_cast<unsigned>(most)) : std::nullopt;
    if (read && *read >= static_cast<unsigned>(least)) return static_cast<int>(*read);
    expected(from, table, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return std::nullopt;
  }
  std::optional<bool> flag(const member& from) {
    const auto value = text_of_value(from.node);
    if (value && (*value == "true" || *value == "on")) return true;
    if (value && (*value == "false" || *value == "off")) return false;
    expected(from, stanza_.name, "\"on\" or \"off\", true or false");
    return std::nullopt;
  }

  const listener_stanza& stanza_;
  reader toml_;
  detail::service_reader ours_;
  stanza_config result_;
  bool speaks_tls_ = false;
  std::optional<int> backlog_;
  std::optional<bool> no_delay_;
};

}  // namespace eventer::inline EVENTER_ABI::compat
