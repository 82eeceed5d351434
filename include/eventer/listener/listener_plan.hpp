// listener_plan: a configuration that was checked against what the program can do, before anything listens.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eventer/base/quoted.hpp"
#include "eventer/listener/config_error.hpp"
#include "eventer/listener/listener_registry.hpp"
#include "eventer/listener/nearest_name.hpp"
#include "eventer/net/inherited_sockets.hpp"

namespace eventer::inline EVENTER_ABI::detail {

// What one listener is going to be.
struct listener_plan {
  const listener_config* config = nullptr;
  const listener_registry::entry* entry = nullptr;
  std::string key;  // its identity: the address as it is written back, and which of those whose port the kernel chooses
  endpoint where;   // none: inherited
  std::vector<int> inherited;
  bool hands_over = false;
  std::shared_ptr<const connection_layer> layer;  // nullptr: connections are served as they come
};

class listener_planner {
 public:
  // Throws config_error with all that is wrong. The plans point into both.
  static std::vector<listener_plan> plan(const service_config& config, const listener_registry& registry) {
    listener_planner work(registry);
    for (const listener_config& each : config.listeners) work.add(each);
    if (!work.problems_.empty()) throw config_error(std::move(work.problems_));
    return std::move(work.plans_);
  }
  static config_problem problem(const listener_config& at, std::string message) {
    return {at.source, 0, 0, "", std::move(message)};
  }

 private:
  static constexpr std::string_view inherited_prefix = "fd:";

  explicit listener_planner(const listener_registry& registry) : registry_(registry) {}

  void add(const listener_config& config) {
    listener_plan plan;
    plan.config = &config;
    plan.entry = registry_.find(config.type);
    if (plan.entry == nullptr) report(config, unknown_type(config.type));
    if (config.address.starts_with(inherited_prefix))
      find_inherited(plan);
    else
      find_address(plan);
    if (config.tls) make_layer(plan);
    plans_.push_back(std::move(plan));
  }

  std::string unknown_type(const std::string& type) const {
    const std::vector<std::string> known = registry_.names();
    std::string text = "type: nothing is registered as " + detail::quoted(type);
    if (known.empty()) return text + ": the program has registered no function at all";
    if (const std::string_view near = nearest_name(type, known); !near.empty())
      text.append("; did you mean ").append(detail::quoted(near)).append("?");
    text += " Registered:";
    for (const std::string& each : known) text.append(each == known.front() ? " " : ", ").append(each);
    return text;
  }

  // Reads the certificates.
  void make_layer(listener_plan& plan) {
    const std::string& place = plan.config->tls->source.empty() ? plan.config->source : plan.config->tls->source;
    const auto complain = [&](std::string message) { problems_.push_back({place, 0, 0, "", std::move(message)}); };
    if (registry_.tls() == nullptr)
      return complain(
          "tls: the program does not speak TLS, and nothing is served in the clear instead: it has to call "
          "eventer::tls::enable()");
    try {
      plan.layer = registry_.tls()->make(*plan.config);
    } catch (const std::exception& failure) {
      complain(std::string("tls: ").append(failure.what()));
    }
  }

  void find_inherited(listener_plan& plan) {
    const listener_config& config = *plan.config;
    const std::string name = config.address.substr(inherited_prefix.size());
    const inherited_sockets& there = inherited_sockets::of_process();
    plan.hands_over = true;
    plan.key = config.address;
    plan.inherited = there.named(name);
    if (plan.inherited.empty())
      report(config, "address: no socket named " + detail::quoted(name) +
                         " was inherited (LISTEN_FDS); there is: " + there.names());
    for (const int fd : plan.inherited)
      if (const char* const why = inherited_sockets::why_not_listening(fd); why != nullptr)
        report(config, "address: the inherited socket " + detail::quoted(name) + " can't be used: " + why);
    if (config.accept == accept_mode::per_loop)
      report(config, "accept: per_loop is not possible with an inherited socket: another one can't listen beside it");
    for (const int fd : plan.inherited)
      if (endpoint::local_of(fd).family() == AF_UNIX) return refuse_rules_on_unix(plan);
    refuse_double(plan);
  }
  void find_address(listener_plan& plan) {
    const listener_config& config = *plan.config;
    const auto where = endpoint::parse(config.address);
    if (!where)
      return report(config, "address: " + detail::quoted(config.address) +
                                " is none to listen on: expected \"127.0.0.1:80\", "
                                "\"[::1]:80\", \"unix:/run/app.sock\", \"unix:@name\" or \"fd:name\"");
    plan.where = *where;
    plan.key = where->to_string();
    const bool is_unix = where->family() == AF_UNIX;
    plan.hands_over = config.accept == accept_mode::automatic ? is_unix : config.accept == accept_mode::hand_over;
    if (is_unix && config.accept == accept_mode::per_loop)
      report(config, "accept: per_loop is not possible with a unix socket: only one can have the name");
    if (is_unix) refuse_rules_on_unix(plan);
    if (!is_unix && where->port() == 0) return number_those_of_port_zero(plan);
    refuse_double(plan);
  }
  // Who connects to a unix socket has no address that a rule could match.
  void refuse_rules_on_unix(const listener_plan& plan) {
    const listener_config& config = *plan.config;
    if (!config.access.empty() && config.proxy == proxy_protocol::off)
      report(
          config,
          "access: who connects to a unix socket has no address that a rule could match: use the permissions of its file");
    if (!config.trusted_proxies.empty())
      report(config, "trusted_proxies: who connects to a unix socket has no address that a rule could match");
  }
  void refuse_double(const listener_plan& plan) {
    for (const listener_plan& each : plans_)
      if (each.key == plan.key)
        return report(*plan.config, "address: " + detail::quoted(plan.config->address) + " is listened on already" +
                                        (each.config->source.empty() ? std::string() : ", at " + each.config->source));
  }
  void number_those_of_port_zero(listener_plan& plan) {
    std::size_t before = 0;
    for (const listener_plan& each : plans_) before += each.where == plan.where;
    if (before > 0) plan.key.append("#").append(std::to_string(before));
  }
  void report(const listener_config& at, std::string message) { problems_.push_back(problem(at, std::move(message))); }

  const listener_registry& registry_;
  std::vector<listener_plan> plans_;
  std::vector<config_problem> problems_;
};

}  // namespace eventer::inline EVENTER_ABI::detail
