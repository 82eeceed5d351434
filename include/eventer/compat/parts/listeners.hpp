// Section 4 of eventer_aco.h, the listeners themselves: a configuration's stanzas, each started for itself, so that one
// with an error does not keep the others from it. Needs toml++, and OpenSSL for sslconfig.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "eventer/compat/detail/acceptor.hpp"
#include "eventer/compat/detail/needing_memory.hpp"
#include "eventer/compat/detail/served_connection.hpp"
#include "eventer/compat/detail/stanza_reader.hpp"
#include "eventer/compat/eventer_aco.h"
#include "eventer/compat/parts/acceptor.hpp"
#include "eventer/listener/listeners.hpp"
#ifdef EVENTER_ACO_WITH_TLS
#include "eventer/tls/listener.hpp"
#endif

namespace eventer::inline EVENTER_ABI::compat {

#ifdef EVENTER_ACO_WITH_TLS
// The common name of the client's certificate; empty without one.
inline std::string client_name(const any_stream& peer) {
  const tls::info* const about = tls::info_of(peer);
  X509* const sent = about == nullptr ? nullptr : ::SSL_get0_peer_certificate(about->native_handle());
  if (sent == nullptr) return {};
  X509_NAME* const subject = ::X509_get_subject_name(sent);
  const int where = ::X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (where < 0) return {};
  unsigned char* text = nullptr;
  const int size = ::ASN1_STRING_to_UTF8(&text, ::X509_NAME_ENTRY_get_data(::X509_NAME_get_entry(subject, where)));
  if (size < 0) return {};
  std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  ::OPENSSL_free(text);
  // A name with a NUL in it would be another one for who reads it as C does.
  return name.find('\0') == std::string::npos ? name : std::string();
}
inline void allow_tls(listener_registry& functions) { tls::enable(functions); }
inline constexpr bool speaks_tls = true;
#else
inline std::string client_name(const any_stream&) { return {}; }
inline void allow_tls(listener_registry&) {}
inline constexpr bool speaks_tls = false;
#endif

// A stanza whose listener runs. Never destroyed, as connections point into it.
struct running_listener {
  stanza_config stanza;
  connection_type type;
  mtev_hash_table config{};
  listeners set;

  running_listener(stanza_config s, const connection_type& t) : stanza(std::move(s)), type(t) {
    for (auto& [key, value] : stanza.config)
      (void)mtev_hash_store(&config, key.c_str(), static_cast<int>(key.size()), value.data());
  }
  running_listener(const running_listener&) = delete;
  running_listener& operator=(const running_listener&) = delete;
  ~running_listener() { mtev_hash_destroy(&config, nullptr, nullptr); }

  void serve(any_stream&& peer) {
    auto from = std::make_unique<mtev_acceptor_closure_t>();
    const endpoint who = peer.peer();
    std::memcpy(&from->remote, who.data(), who.size());
    from->config = &config;
    from->remote_cn = client_name(peer);
    from->idle_timeout = stanza.idle_timeout;
    from->last_read = from->last_write = microseconds_of(wall_clock());
    serve_as(type, std::move(peer), std::move(from));
  }
};

class listeners_of_process {
 public:
  static listeners_of_process& get() {
    static listeners_of_process& all = *new listeners_of_process;
    return all;
  }

  void skip(const char* address, int port) {
    const std::lock_guard lock(mutex_);
    skipped_.emplace_back(address != nullptr ? address : "", port);
  }
  void start(const parsed_configuration& from, std::string_view inside) {
    for (const listener_stanza& each : stanza_collector::collect(*from.root, inside)) {
      if (!stanza_reader::is_wanted(each)) continue;
      try {
        start_one(stanza_reader::read(each, from.path), each, from.path);
      } catch (const config_error& error) {
        for (const config_problem& problem : error.errors())
          mtevL(mtev_error, "listener is skipped: %s\n", problem.to_string().c_str());
      } catch (const std::system_error& error) {
        mtevL(mtev_error, "listener is skipped: %s:%zu: %s\n", from.path.c_str(),
              static_cast<std::size_t>(each.at.line), error.what());
      }
    }
  }
  // -1: none of this type listens on a port.
  int port_of(std::string_view type) const {
    const std::lock_guard lock(mutex_);
    for (const auto& each : running_)
      if (each->stanza.listener.type == type)
        for (const listener_statistics& of : each->set.statistics())
          if (const auto local = endpoint::parse(of.local); local && local->port() != 0) return local->port();
    return -1;
  }
  // Nobody accepts any more, and what they serve is cancelled.
  void stop() {
    std::vector<listeners> ended;
    const std::lock_guard lock(mutex_);
    for (const auto& each : running_) ended.push_back(std::move(each->set));
  }

 private:
  bool is_skipped(const stanza_config& which) const {
    const auto matches = [&](const std::string& address, int port) {
      return (address.empty() || address == which.address) && (port == 0 || port == which.port);
    };
    const std::lock_guard lock(mutex_);
    for (const auto& [address, port] : skipped_)
      if (matches(address, port)) return true;
    return false;
  }
  void start_one(stanza_config stanza, const listener_stanza& at, const std::string& file) {
    if (is_skipped(stanza)) return;
    const auto refuse = [&](const char* key, std::string message) {
      throw config_error({config_problem{file, at.at.line, at.at.column, detail::toml_reader::member_name(at.name, key),
                                         std::move(message)}});
    };
    listener_config& config = stanza.listener;
    const connection_type type = connection_types::of_process().find(config.type);
    if (!type) refuse("type", unknown_type(config.type));
    if (type.callback != nullptr && config.max_connections != 0)
      refuse("max_connections", "means nothing for a callback, whose connections end where nobody sees it");
    if (config.tls && !speaks_tls)
      refuse("ssl",
             "the program was built without TLS (EVENTER_ACO_WITH_TLS), and nothing is served in the clear instead");
    eventer_pool_t* const pool = eventer_pool(stanza.pool.empty() ? "default" : stanza.pool.c_str());
    if (pool == nullptr)
      refuse("fanout_pool", "there is no pool " + detail::quoted(stanza.pool) + ": the property loop_" + stanza.pool +
                                " makes one, before eventer_init");
    auto made = std::make_unique<running_listener>(std::move(stanza), type);
    made->set = detail::start_on(loops_for(made->stanza, *pool), service_config{.listeners = {made->stanza.listener}},
                                 functions_for(*made));
    for (const listener_statistics& each : made->set.statistics())
      mtevL(mtev_notice, "listener %s at %s\n", each.type.c_str(), each.local.c_str());
    const std::lock_guard lock(mutex_);
    running_.push_back(std::move(made));
  }
  // Connections stay on the loop that accepts: one, as callbacks that share something may rely on that, unless more are
  // asked for.
  static std::vector<event_loop*> loops_for(const stanza_config& stanza, eventer_pool_t& pool) {
    if (stanza.fans_out || stanza.accepts_on_all) return detail::loops_of(*pool.loops);
    return {&(*pool.loops)[0]};
  }
  static listener_registry functions_for(running_listener& which) {
    listener_registry functions;
    functions.add(which.stanza.listener.type, [which = &which](any_stream peer) { which->serve(std::move(peer)); });
    allow_tls(functions);
    return functions;
  }
  static std::string unknown_type(const std::string& type) {
    const std::vector<std::string> known = connection_types::of_process().names();
    std::string text = "nothing is registered as " + detail::quoted(type);
    if (const std::string_view near = detail::nearest_name(type, known); !near.empty())
      return text.append("; did you mean ").append(detail::quoted(near)).append("?");
    text += ": see eventer_name_callback, mtev_listener_register_aco_function. Registered:";
    for (const std::string& each : known) text.append(each == known.front() ? " " : ", ").append(each);
    return text;
  }

  mutable std::mutex mutex_;
  std::vector<std::pair<std::string, int>> skipped_;  // "": any address; 0: any port
  std::vector<std::unique_ptr<running_listener>> running_;
};

// --- [eventer] ---

// The properties of the file, [eventer] or [eventer.config]: those that the program has not set.
inline void apply_properties_of(const parsed_configuration& from) {
  const toml::node* const node = from.root == nullptr ? nullptr : from.root->get("eventer");
  const toml::table* const table = node == nullptr ? nullptr : node->as_table();
  if (table == nullptr) return;
  const auto apply = [&](const toml::table& in) {
    for (const auto& [key, value] : in) {
      const std::string name(key.str());
      const auto text = text_of_value(value);
      if (name == "config" || name == "implementation") continue;
      if (!text)
        mtevL(mtev_error, "configuration: %s:%zu: eventer.%s: expected text, a number, true or false\n",
              from.path.c_str(), static_cast<std::size_t>(key.source().begin.line), name.c_str());
      else if (!properties::of_process().find(name))
        (void)eventer_propset(name.c_str(), text->c_str());
    }
  };
  apply(*table);
  if (const toml::node* const inner = table->get("config"); inner != nullptr && inner->is_table())
    apply(*inner->as_table());
}

inline const bool reads_properties = [] {
  apply_configured_properties = [] { needing_memory([] { apply_properties_of(configuration_document()); }); };
  return true;
}();

}  // namespace eventer::inline EVENTER_ABI::compat

extern "C" {

void mtev_listener_init(const char* toplevel) {
  namespace compat = eventer::compat;
  (void)compat::runtime::of_process().first();
  compat::needing_memory([&] {
    const std::string name = toplevel != nullptr ? toplevel : "";
    if (compat::configuration_path().empty()) {
      if (name.empty()) {
        mtevL(mtev_error, "mtev_listener_init: no configuration was loaded: see mtev_conf_load()\n");
        return;
      }
      // In force for whoever reads its part of it.
      if (mtev_conf_load((name + ".toml").c_str()) != 0) return;
    }
    compat::connection_types::of_process().add("control_dispatch", {.callback = &mtev_control_dispatch});
    const compat::parsed_configuration from = compat::configuration_document();
    if (from.root == nullptr) return;
    compat::apply_properties_of(from);  // of a file that eventer_init did not know yet
    compat::runtime::of_process().at_stop([] { compat::listeners_of_process::get().stop(); });
    compat::listeners_of_process::get().start(from, name);
  });
}
void mtev_listener_skip(const char* address, int port) {
  eventer::compat::needing_memory([&] { eventer::compat::listeners_of_process::get().skip(address, port); });
}
int mtev_listener_port(const char* type) {
  return eventer::compat::needing_memory([&] { return eventer::compat::listeners_of_process::get().port_of(type); });
}

}  // extern "C"
