// listener_stanzas: the listeners of a configuration, each with the keys that hold for it, its own and those of the
// groups around it.
//
//   [listeners]                  a group: its keys, its config and its sslconfig hold for all in it
//   [[listeners.listener]]       a listener
//   [[listeners.inside.listener]]   one in a group that is in that group
//   [[listener]]                 one in no group
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/compat/detail/configuration_document.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// Keys with values, the nearest of each name: a std::map, so that messages come in the same order always.
using stanza_keys = std::map<std::string, detail::service_reader::member, std::less<>>;

struct listener_stanza {
  std::string name;  // "listeners.listener[1]", counted from 0
  toml::source_position at;
  stanza_keys keys, config, sslconfig;  // tables: of those names
  std::vector<std::string> conditions;  // every require_env
};

class stanza_collector {
 public:
  // `inside`: the name of a table that may have all of it, the program's; may be empty.
  static std::vector<listener_stanza> collect(const toml::table& root, std::string_view inside) {
    stanza_collector work;
    work.look_in(root, {});
    if (const toml::node* const of_program = root.get(inside); of_program != nullptr && of_program->is_table())
      work.look_in(*of_program->as_table(), std::string(inside));
    return std::move(work.found_);
  }

 private:
  using reader = detail::toml_reader;

  void look_in(const toml::table& root, const std::string& name) {
    if (const toml::node* const node = root.get("listener"))
      listeners(*node, reader::member_name(name, "listener"), {});
    const toml::node* const all = root.get("listeners");
    if (all == nullptr) return;
    if (all->is_table())
      group(*all->as_table(), reader::member_name(name, "listeners"), {});
    else
      listeners(*all, reader::member_name(name, "listeners"), {});  // [[listeners]]: without a group
  }
  // `around` has what holds already.
  void group(const toml::table& table, const std::string& name, listener_stanza around) {
    take_keys(table, around, true);
    for (const auto& [key, node] : table) {
      if (is_part(key.str())) continue;
      const std::string full = reader::member_name(name, key.str());
      if (key.str() == "listener")
        listeners(node, full, around);
      else if (node.is_table())
        group(*node.as_table(), full, around);
      else if (node.is_array_of_tables())
        for (std::size_t i = 0; i < node.as_array()->size(); ++i)
          group(*(*node.as_array())[i].as_table(), reader::element_name(full, i), around);
    }
  }
  void listeners(const toml::node& node, const std::string& name, const listener_stanza& around) {
    if (const toml::table* const only = node.as_table()) return listener(*only, name, around);
    const toml::array* const all = node.as_array();
    for (std::size_t i = 0; all != nullptr && i < all->size(); ++i)
      if (const toml::table* const each = (*all)[i].as_table()) listener(*each, reader::element_name(name, i), around);
  }
  void listener(const toml::table& table, const std::string& name, listener_stanza around) {
    around.name = name;
    around.at = table.source().begin;
    take_keys(table, around, false);
    found_.push_back(std::move(around));
  }

  // What is a table, and belongs to a listener nevertheless.
  static bool is_part(std::string_view key) noexcept {
    return key == "config" || key == "sslconfig" || key == "settings" || key == "tls";
  }
  static void take_keys(const toml::table& table, listener_stanza& into, bool of_group) {
    for (const auto& [key, node] : table) {
      if (key.str() == "config" && node.is_table())
        take_all(*node.as_table(), into.config, of_group);
      else if (key.str() == "sslconfig" && node.is_table())
        take_ssl(*node.as_table(), into.sslconfig, of_group);
      else if (key.str() == "require_env" && node.is_string())
        into.conditions.push_back(node.as_string()->get());
      else if (!of_group || is_part(key.str()) || !(node.is_table() || node.is_array_of_tables()))
        take(key, node, into.keys, of_group);
    }
  }
  static void take_all(const toml::table& table, stanza_keys& into, bool of_group) {
    for (const auto& [key, node] : table) take(key, node, into, of_group);
  }
  // Two names of one key are one key, of which the nearest counts.
  static std::string_view one_name(std::string_view key) noexcept {
    constexpr std::pair<std::string_view, std::string_view> names[] = {
        {"certificate", "certificate_file"}, {"key", "key_file"}, {"ca_file", "ca_chain"}, {"npn", "alpn"}};
    for (const auto& [other, name] : names)
      if (key == other) return name;
    return key;
  }
  static void take_ssl(const toml::table& table, stanza_keys& into, bool of_group) {
    for (const auto& [key, node] : table) {
      const std::string name(one_name(key.str()));
      into.erase(name);
      into.emplace(name, detail::service_reader::member{key, node, of_group});
    }
  }
  static void take(const toml::key& key, const toml::node& node, stanza_keys& into, bool of_group) {
    into.erase(std::string(key.str()));
    into.emplace(std::string(key.str()), detail::service_reader::member{key, node, of_group});
  }

  std::vector<listener_stanza> found_;
};

}  // namespace eventer::inline EVENTER_ABI::compat
