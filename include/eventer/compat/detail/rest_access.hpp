// rest_access: who may ask for what, as the configuration's access lists say:
//
//   [[rest.acl]]                       # the first one whose filters all match decides
//   listener_name = "^public$"         # a regex for the value that the listener's config has under "name"
//   [[rest.acl.rule]]                  # in it: the first one whose filters all match; none: denied
//   type = "allow"                     # anything else denies
//   ip = "10.0.0.0/8"
//
// Filters: user, auth, cn, url and listener_<key>, which are regexes that match anywhere, and ip, an address or a
// network. A rule with `skipto` goes on at the later rule of that `name`. Without any list everybody is let in; where
// lists can't be read, nobody is.
#pragma once

#include <re2/re2.h>

#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/compat/detail/configuration.hpp"
#include "eventer/compat/detail/http_session.hpp"
#include "eventer/http/route_regex.hpp"
#include "eventer/net/access_list.hpp"
#ifdef EVENTER_ACO_WITH_LISTENERS
#include "eventer/compat/detail/configuration_document.hpp"
#endif

namespace eventer::inline EVENTER_ABI::compat {

// Who asks for what, as filters see it.
struct rest_question {
  std::string_view user, mechanism, common_name, url;
  endpoint peer;
  mtev_hash_table* listener;
};

class rest_filters {
 public:
  // False: there is no such filter. Errors: std::invalid_argument.
  bool add(std::string_view key, const std::string& value) {
    if (key == "ip") {
      if (const std::string wrong = address_.allow(value); !wrong.empty()) throw std::invalid_argument(wrong);
      return true;
    }
    const bool of_listener = key.starts_with("listener_");
    if (!of_listener && key != "user" && key != "auth" && key != "cn" && key != "url") return false;
    auto regex = std::make_unique<re2::RE2>(value, http::detail::re2_options({}, 1 << 20));
    if (!regex->ok()) throw std::invalid_argument("RE2 says \"" + regex->error() + "\"");
    texts_.push_back({std::string(of_listener ? key.substr(9) : key), of_listener, std::move(regex)});
    return true;
  }
  bool match(const rest_question& question) const {
    if (!address_.allows(question.peer)) return false;
    for (const text_filter& each : texts_) {
      const std::string_view text = each.of_listener     ? listener_value(question, each.key)
                                    : each.key == "user" ? question.user
                                    : each.key == "auth" ? question.mechanism
                                    : each.key == "cn"   ? question.common_name
                                                         : question.url;
      if (text.data() == nullptr || !re2::RE2::PartialMatch(http::detail::piece_of(text), *each.regex)) return false;
    }
    return true;
  }

 private:
  struct text_filter {
    std::string key;
    bool of_listener;
    std::unique_ptr<re2::RE2> regex;
  };
  static std::string_view listener_value(const rest_question& question, const std::string& key) {
    const char* found = nullptr;
    if (question.listener == nullptr ||
        mtev_hash_retr_str(question.listener, key.c_str(), static_cast<int>(key.size()), &found) == 0 ||
        found == nullptr)
      return {};
    return found;
  }

  access_list address_;
  std::vector<text_filter> texts_;
};

class rest_access {
 public:
  struct rule {
    rest_filters filters{};
    bool allows = false;
    std::string name{}, skips_to{};
  };
  struct list {
    rest_filters filters{};
    std::vector<rule> rules{};
  };

  static rest_access& of_process() {
    static rest_access& only = *new rest_access;
    return only;
  }

  // Reads what the configuration that is in force says, its file too where `again`. What is wrong with it is logged.
  void load(bool again) {
    auto made = std::make_shared<lists>();
    made->path = configuration_path();
    if (!made->path.empty()) read(made->path, again, *made);
    const std::lock_guard lock(mutex_);
    present_ = std::move(made);
  }
  bool allows(const rest_question& question) {
    const std::shared_ptr<const lists> present = loaded();
    if (present->broken) return false;
    if (present->all.empty()) return true;
    if (question.peer.family() == AF_UNSPEC) return false;  // reset before anybody could ask whose it is
    for (const list& each : present->all)
      if (each.filters.match(question)) return decide(each, question);
    return false;
  }

 private:
  struct lists {
    std::string path;  // of the configuration
    std::vector<list> all;
    bool broken = false;
  };

  // Those of the file that is in force by now: it may have been named behind mtev_http_rest_init.
  std::shared_ptr<const lists> loaded() {
    const std::string path = configuration_path();
    {
      const std::lock_guard lock(mutex_);
      if (present_ != nullptr && present_->path == path) return present_;
    }
    load(false);
    const std::lock_guard lock(mutex_);
    return present_;
  }
  static bool decide(const list& by, const rest_question& question) {
    for (std::size_t i = 0; i < by.rules.size(); ++i) {
      const rule* at = &by.rules[i];
      if (!at->filters.match(question)) continue;
      if (at->skips_to.empty()) return at->allows;
      while (by.rules[++i].name != at->skips_to) {
      }
      --i;  // it is looked at next
    }
    return false;
  }

#ifdef EVENTER_ACO_WITH_LISTENERS
  static void read(const std::string& path, bool again, lists& into) {
    try {
      const parsed_configuration document = configuration_document(again);
      if (document.root == nullptr) throw std::invalid_argument("can't be read");
      collect(*document.root, false, into);
    } catch (const std::exception& wrong) {
      into.broken = true;
      mtevL(mtev_error, "REST access lists of %s: %s: every request is denied\n", path.c_str(), wrong.what());
    }
  }
  // Every `acl` in a `rest`, wherever that is: a list that nobody finds would let everybody in.
  static void collect(const toml::node& in, bool in_rest, lists& into) {
    if (const toml::array* const all = in.as_array())
      for (const toml::node& each : *all) collect(each, in_rest, into);
    const toml::table* const table = in.as_table();
    if (table == nullptr) return;
    for (const auto& [key, node] : *table) {
      const bool is_rest = in_rest || key.str() == "rest";
      if (!is_rest || key.str() != "acl") {
        collect(node, is_rest, into);
        continue;
      }
      const toml::array* const found = node.as_array();
      if (found == nullptr) throw std::invalid_argument("rest.acl is an array of tables: [[rest.acl]]");
      for (const toml::node& each : *found) into.all.push_back(list_of(table_in(each)));
    }
  }
  static const toml::table& table_in(const toml::node& from) {
    if (const toml::table* const table = from.as_table()) return *table;
    throw std::invalid_argument("rest.acl and its rules are tables: [[rest.acl]], [[rest.acl.rule]]");
  }
  static std::string text_in(std::string_view key, const toml::node& from) {
    if (const auto* const text = from.as_string()) return text->get();
    throw std::invalid_argument(std::string(key).append(" is text in quotes"));
  }
  static list list_of(const toml::table& from) {
    list made;
    for (const auto& [name, value] : from) {
      const std::string_view key = name.str();
      if (key == "type") continue;  // as with libmtev it says nothing: the rules do, and behind them all is denied
      if (key != "rule") {
        add_filter(made.filters, key, value);
        continue;
      }
      const toml::array* const rules = value.as_array();
      if (rules == nullptr) throw std::invalid_argument("rest.acl.rule is an array of tables: [[rest.acl.rule]]");
      for (const toml::node& each : *rules) made.rules.push_back(rule_of(table_in(each)));
    }
    for (std::size_t i = 0; i < made.rules.size(); ++i) {
      bool found = made.rules[i].skips_to.empty();
      for (std::size_t later = i + 1; later < made.rules.size() && !found; ++later)
        found = made.rules[later].name == made.rules[i].skips_to;
      if (!found) throw std::invalid_argument("no later rule has the name that skipto says: " + made.rules[i].skips_to);
    }
    return made;
  }
  static rule rule_of(const toml::table& from) {
    rule made;
    for (const auto& [name, value] : from) {
      const std::string_view key = name.str();
      if (key == "type")
        made.allows = text_in(key, value) == "allow";
      else if (key == "name")
        made.name = text_in(key, value);
      else if (key == "skipto")
        made.skips_to = text_in(key, value);
      else
        add_filter(made.filters, key, value);
    }
    return made;
  }
  static void add_filter(rest_filters& to, std::string_view key, const toml::node& value) {
    if (!to.add(key, text_in(key, value)))
      throw std::invalid_argument(std::string(key).append(
          " is no filter: expected user, auth, cn, url, ip or listener_ with a key of the listener's config"));
  }
#else
  static void read(const std::string& path, bool, lists& into) {
    into.broken = true;
    mtevL(mtev_error,
          "REST access lists of %s can't be read without EVENTER_ACO_WITH_LISTENERS: every request is denied\n",
          path.c_str());
  }
#endif

  std::mutex mutex_;
  std::shared_ptr<const lists> present_;
};

}  // namespace eventer::inline EVENTER_ABI::compat
