// tls_reader: the keys of [listener.tls], each with what it may hold. Whether the files are there, and fit together, is
// for who reads them to see (eventer/tls.hpp).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/config/toml_keys.hpp"
#include "eventer/config/toml_reader.hpp"
#include "eventer/listener/tls_config.hpp"

namespace eventer::inline EVENTER_ABI::detail {

class tls_reader {
 public:
  explicit tls_reader(toml_reader& by) noexcept : toml_(by) {}

  tls_config read(const toml_value& from) {
    tls_config result;
    const toml::table* const table = from.node.as_table();
    if (table == nullptr) {
      toml_.expected(from, "a table, [listener.tls]");
      return result;
    }
    result.source = toml_.file() + ":" + std::to_string(table->source().begin.line);
    read_keys(*table, from.name, keys(), result);
    require_both(*table, from.name);
    check_clients(*table, from.name, result);
    return result;
  }

 private:
  template <class Into>
  struct key_of {
    std::string_view name;
    void (tls_reader::*read)(const toml_value&, Into&);
  };
  static std::span<const key_of<tls_config>> keys() noexcept {
    static constexpr key_of<tls_config> all[] = {{"certificate", &tls_reader::certificate},
                                                 {"key", &tls_reader::key},
                                                 {"certificates", &tls_reader::certificates},
                                                 {"alpn", &tls_reader::alpn},
                                                 {"client_certificates", &tls_reader::client_certificates},
                                                 {"client_ca", &tls_reader::client_ca},
                                                 {"handshake_timeout", &tls_reader::handshake_timeout},
                                                 {"min_version", &tls_reader::min_version}};
    return all;
  }
  static std::span<const key_of<tls_certificate>> certificate_keys() noexcept {
    static constexpr key_of<tls_certificate> all[] = {{"names", &tls_reader::names},
                                                      {"certificate", &tls_reader::certificate_of},
                                                      {"key", &tls_reader::key_of_certificate}};
    return all;
  }

  template <class Keys, class Into>
  void read_keys(const toml::table& table, const std::string& name, Keys keys, Into& into) {
    for (const auto& [key, node] : table) {
      const std::string full = toml_reader::member_name(name, key.str());
      if (const auto* const known = find_key(keys, key.str()))
        (this->*known->read)({node, full}, into);
      else
        toml_.complain(key.source().begin, full, unknown_key(key.str(), keys));
    }
  }
  void require_both(const toml::table& table, const std::string& name) {
    for (const char* const key : {"certificate", "key"})
      if (!table.contains(key))
        toml_.complain(table.source().begin, toml_reader::member_name(name, key), "is missing: expected a PEM file");
  }
  void check_clients(const toml::table& table, const std::string& name, const tls_config& read) {
    const bool asks = read.client_certificates != tls_client_certificates::none;
    if (asks && !table.contains("client_ca"))
      toml_.complain(table.source().begin, toml_reader::member_name(name, "client_ca"),
                     "is missing: expected a PEM file with whom to trust with clients' certificates");
    if (!asks && table.contains("client_ca") && !table.contains("client_certificates"))
      toml_.complain(table.find("client_ca")->first.source().begin, toml_reader::member_name(name, "client_ca"),
                     "means nothing without client_certificates = \"optional\" or \"required\"");
  }

  void file(const toml_value& from, std::string& into) {
    const auto* const value = from.node.as_string();
    if (value == nullptr || value->get().empty()) return toml_.expected(from, "the name of a PEM file");
    into = value->get();
  }
  void certificate(const toml_value& from, tls_config& into) { file(from, into.main.certificate); }
  void key(const toml_value& from, tls_config& into) { file(from, into.main.key); }
  void client_ca(const toml_value& from, tls_config& into) { file(from, into.client_ca); }
  void certificate_of(const toml_value& from, tls_certificate& into) { file(from, into.certificate); }
  void key_of_certificate(const toml_value& from, tls_certificate& into) { file(from, into.key); }

  void certificates(const toml_value& from, tls_config& into) {
    const toml::array* const array = from.node.as_array();
    constexpr std::string_view what =
        "an array of tables, such as [{ certificate = \"b.pem\", key = \"b.key\", names = [\"b.example.org\"] }]";
    if (array == nullptr) return toml_.expected(from, what);
    for (std::size_t i = 0; i < array->size(); ++i) {
      const std::string name = toml_reader::element_name(from.name, i);
      const toml::table* const table = (*array)[i].as_table();
      if (table == nullptr) {
        toml_.expected({(*array)[i], name}, "a table with certificate and key");
        continue;
      }
      read_keys(*table, name, certificate_keys(), into.certificates.emplace_back());
      require_both(*table, name);
    }
  }
  void names(const toml_value& from, tls_certificate& into) {
    toml_.texts(from, "an array of names, such as [\"example.org\", \"*.example.org\"]", [&](const std::string& name) {
      into.names.push_back(name);
      const std::string_view rest = std::string_view(name).substr(name.starts_with("*.") ? 2 : 0);
      const bool is_name = !rest.empty() && rest.find_first_of("* \t:/") == std::string_view::npos;
      return is_name ? std::string()
                     : detail::quoted(name) + ": expected a name, or \"*.\" and a name, for one label more";
    });
  }
  void alpn(const toml_value& from, tls_config& into) {
    toml_.texts(from, "an array of protocols, such as [\"h2\", \"http/1.1\"]", [&](const std::string& name) {
      into.alpn.push_back(name);
      return name.empty() || name.size() > 255 ? detail::quoted(name) + ": expected 1 to 255 bytes" : std::string();
    });
  }
  void client_certificates(const toml_value& from, tls_config& into) {
    static constexpr toml_choice<tls_client_certificates> choices[] = {{"none", tls_client_certificates::none},
                                                                       {"optional", tls_client_certificates::optional},
                                                                       {"required", tls_client_certificates::required}};
    toml_.choice(from, choices, into.client_certificates);
  }
  void handshake_timeout(const toml_value& from, tls_config& into) {
    static constexpr duration_range range = {std::chrono::hours(1), std::chrono::milliseconds(1),
                                             "a duration of whole milliseconds with its unit, \"1ms\" to \"1h\""};
    duration read = into.handshake_timeout;
    toml_.time(from, range, read);
    if (read == duration::zero()) return toml_.expected(from, range.expected);
    into.handshake_timeout = read;
  }
  void min_version(const toml_value& from, tls_config& into) {
    static constexpr toml_choice<tls_min_version> choices[] = {{"1.2", tls_min_version::tls_1_2},
                                                               {"1.3", tls_min_version::tls_1_3}};
    toml_.choice(from, choices, into.min_version);
  }

  toml_reader& toml_;
};

}  // namespace eventer::inline EVENTER_ABI::detail
