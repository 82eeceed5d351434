// Any text as a configuration file: it is read, or refused with errors that have their places. No crash, no overflow,
// nothing that grows faster than the text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "eventer/config/service_file.hpp"

static void must(bool holds) {
  if (!holds) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const eventer::service_config service = eventer::parse_service_config(text, "fuzz.toml");
    must(!service.listeners.empty());
    for (const eventer::listener_config& each : service.listeners) {
      must(!each.type.empty() && !each.address.empty() && each.source.starts_with("fuzz.toml:"));
      must(each.backlog >= 1 && each.backlog <= 65535 && each.unix_mode <= 0777);
      must(each.tcp.keep_alive >= each.tcp.keep_alive.zero());
      must(!each.address.starts_with("unix:") || (each.access.empty() && each.trusted_proxies.empty()));
    }
  } catch (const eventer::config_error& error) {
    must(!error.errors().empty() && error.errors().size() <= eventer::config_error::most_problems + 1);
    for (const eventer::config_problem& each : error.errors()) {
      must(each.file == "fuzz.toml" && !each.message.empty() && each.message.size() < 4096);
      for (const char byte : each.to_string()) must(static_cast<unsigned char>(byte) >= ' ' && byte != '\x7f');
    }
  }
  return 0;
}
