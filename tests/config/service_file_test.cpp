// A service's configuration from a file: what each key means, and what a person is told who gets it wrong.
#include <iomanip>  // first: std::quoted is not to be found in place of ours

#include "eventer/config/service_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "../catch.hpp"
#include "eventer/event/run.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using eventer::config_error;
using eventer::endpoint;
using eventer::listener_config;
using eventer::parse_service_config;
using eventer::read_service_file;
using eventer::service_config;

// What is said about a text; empty if nothing is wrong with it.
static std::string errors_of(std::string_view text) {
  try {
    (void)parse_service_config(text, "s.toml");
    return {};
  } catch (const config_error& error) {
    return error.what();
  }
}
// A listener whose table has these lines after its type and address, which are lines 1 to 3.
static std::string listener_with(std::string_view lines, std::string_view address = "127.0.0.1:80") {
  return std::string("[[listener]]\ntype = \"echo\"\naddress = \"").append(address).append("\"\n").append(lines);
}
static listener_config only_listener(std::string_view text) {
  service_config service = parse_service_config(text, "s.toml");
  REQUIRE(service.listeners.size() == 1);
  return service.listeners.front();
}

TEST_CASE("a file with every key gives what it says") {
  const service_config service = parse_service_config(R"(
loops = 4
drain_limit = "2m"
drain_idle = "250ms"

[[listener]]
type = "echo"
address = "[::]:7777"
backlog = 1024
max_connections = 10000
accept = "hand_over"
allow = ["10.0.0.0/8", "::1"]
deny = ["10.6.6.0/24"]
v6_only = true
no_delay = false
keep_alive = "30s"
user_timeout = "1500ms"
defer_accept = "5s"
send_buffer = 65536
receive_buffer = 131072
proxy_protocol = "required"
trusted_proxies = ["192.168.1.7"]
[listener.settings]
name = "a\nb"
count = -5
ratio = 0.25
"with space" = true

[[listener]]
type = "admin"
address = "unix:/run/admin.sock"
unix_mode = "0660"
accept = "automatic"
)",
                                                      "/etc/s.toml");
  CHECK(service.loops == 4);
  CHECK(service.drain_limit == 2min);
  CHECK(service.drain_idle == 250ms);
  REQUIRE(service.listeners.size() == 2);
  const listener_config& first = service.listeners[0];
  CHECK(first.type == "echo");
  CHECK(first.address == "[::]:7777");
  CHECK(first.backlog == 1024);
  CHECK(first.max_connections == 10000);
  CHECK(first.accept == eventer::accept_mode::hand_over);
  CHECK(first.access == eventer::access_list::parse({"10.0.0.0/8", "::1"}, {"10.6.6.0/24"}));
  CHECK(first.v6_only);
  CHECK_FALSE(first.tcp.no_delay);
  CHECK(first.tcp.keep_alive == 30s);
  CHECK(first.tcp.user_timeout == 1500ms);
  CHECK(first.tcp.defer_accept == 5s);
  CHECK(first.tcp.send_buffer == 65536);
  CHECK(first.tcp.receive_buffer == 131072);
  CHECK(first.proxy == eventer::proxy_protocol::required);
  CHECK(first.trusted_proxies == eventer::access_list::parse({"192.168.1.7"}));
  CHECK(first.source == "/etc/s.toml:6");
  CHECK(first.settings.size() == 4);
  for (const auto& [name, value] :
       {std::pair{"name", "a\nb"}, {"count", "-5"}, {"ratio", "0.25"}, {"with space", "true"}}) {
    CAPTURE(name);
    REQUIRE(first.find_setting(name) != nullptr);
    CHECK(*first.find_setting(name) == value);
  }
  CHECK(first.find_setting("nam") == nullptr);
  const listener_config& second = service.listeners[1];
  CHECK(second.unix_mode == 0660);
  CHECK(second.source == "/etc/s.toml:29");
  CHECK(second.accept == eventer::accept_mode::automatic);
}

TEST_CASE("a file with what must be there has the defaults of the struct") {
  const service_config service = parse_service_config(listener_with(""), "s.toml"), defaults;
  CHECK(service.loops == defaults.loops);
  CHECK(service.drain_limit == 10s);
  CHECK(service.drain_idle == 1s);
  const listener_config read = service.listeners.at(0), untouched;
  CHECK(read.backlog == untouched.backlog);
  CHECK(read.max_connections == 0);
  CHECK(read.accept == eventer::accept_mode::automatic);
  CHECK(read.access.empty());
  CHECK(read.trusted_proxies.empty());
  CHECK(read.tcp.no_delay);
  CHECK(read.tcp.keep_alive == 0s);
  CHECK(read.proxy == eventer::proxy_protocol::off);
  CHECK(read.unix_mode == 0);
  CHECK(read.settings.empty());
}

TEST_CASE("every form of TOML gives the same configuration") {
  for (
      const std::string& text :
      {"listener = [{type = \"echo\", address = \"127.0.0.1:80\", settings = {a = 1}}]"s,
       "[[listener]]\r\ntype = 'echo'\r\naddress = '127.0.0.1:80'\r\nsettings.a = 1\r\n"s,
       "\xef\xbb\xbf# with a byte order mark\n[[listener]]\ntype = \"\"\"echo\"\"\"\naddress = '''127.0.0.1:80'''\n[listener.settings]\na = 0x1"s,
       "[[\"listener\"]]\n\"type\" = \"\\u0065cho\"\n'address' = \"127.0.0.1:80\"\n\"settings\".\"a\" = 1\n"s}) {
    CAPTURE(text);
    CHECK(errors_of(text) == "");
    const listener_config read = only_listener(text);
    CHECK(read.type == "echo");
    CHECK(read.address == "127.0.0.1:80");
    REQUIRE(read.find_setting("a") != nullptr);
    CHECK(*read.find_setting("a") == "1");
  }
}

TEST_CASE("every kind of address is taken") {
  for (const char* const address : {"127.0.0.1:80", "0.0.0.0:0", "[::1]:80", "[fe80::1%2]:80", "unix:/run/x", "unix:x",
                                    "unix:@name", "fd:web", "fd:web.socket-1"}) {
    CAPTURE(address);
    CHECK(errors_of(listener_with("", address)) == "");
  }
}

TEST_CASE("a duration has a whole number and a unit") {
  struct row {
    const char* text;
    eventer::duration value;
  };
  for (const auto& [text, value] :
       {row{"0s", 0s}, row{"1ns", 1ns}, row{"20us", 20us}, row{"500ms", 500ms}, row{"30s", 30s}, row{"5m", 5min},
        row{"1h", 1h}, row{"365d", 24h * 365}, row{"007s", 7s}}) {
    CAPTURE(text);
    const std::string file = "drain_limit = \""s + text + "\"\n" + listener_with("");
    CHECK(errors_of(file) == "");
    CHECK(parse_service_config(file, "s.toml").drain_limit == value);
  }
  for (const char* const text : {"",
                                 "10",
                                 "s",
                                 "-1s",
                                 "+1s",
                                 "1.5s",
                                 "1e3s",
                                 "10 s",
                                 " 10s",
                                 "10s ",
                                 "10 parsecs",
                                 "10S",
                                 "10sec",
                                 "1h30m",
                                 "1w",
                                 "366d",
                                 "9223372036854775807d",
                                 "99999999999999999999s",
                                 "10s\\u0000",
                                 "inf"}) {
    CAPTURE(text);
    const std::string file = "drain_limit = \""s + text + "\"\n" + listener_with("");
    CHECK(errors_of(file).find(
              "s.toml:1:15: drain_limit: expected a duration with its unit, such as \"10s\", got \"") == 0);
  }
}

TEST_CASE("a value of the wrong kind or out of range is refused with what was expected") {
  struct row {
    const char *line, *message;
  };
  const std::string numbers = "expected a whole number from ";
  for (
      const auto& [line, message] : {
          row{"backlog = \"many\"",
              "s.toml:4:11: listener[0].backlog: expected a whole number from 1 to 65535, got \"many\""},
          row{"backlog = 0", "s.toml:4:11: listener[0].backlog: expected a whole number from 1 to 65535, got 0"},
          row{"backlog = 65536", "got 65536"},
          row{"backlog = -9223372036854775808", "got -9223372036854775808"},
          row{"backlog = 1.5", "got 1.5"},
          row{"backlog = nan", "got nan"},
          row{"backlog = true", "got true"},
          row{"backlog = [1]", "got an array"},
          row{"backlog = {a = 1}", "got a table"},
          row{"backlog = 1979-05-27", "got a date"},
          row{"backlog = [{a = 1}]", "got an array of tables"},
          row{"  backlog   =   \"x\"", "s.toml:4:17: "},
          row{"max_connections = -1", "max_connections: expected a whole number from 0 to 1000000000, got -1"},
          row{"send_buffer = 2000000000", "send_buffer: expected a whole number from 0 to 1073741824, got 2000000000"},
          row{"receive_buffer = \"1M\"", "receive_buffer: expected a whole number from 0 to 1073741824, got \"1M\""},
          row{"accept = \"per loop\"",
              "accept: expected \"automatic\", \"per_loop\" or \"hand_over\", got \"per loop\""},
          row{"accept = 1", "got 1"},
          row{"no_delay = 1", "no_delay: expected true or false, got 1"},
          row{"no_delay = \"true\"", "no_delay: expected true or false, got \"true\""},
          row{"keep_alive = 30",
              "keep_alive: expected a duration of whole seconds with its unit, \"1s\" to \"32767s\", or \"0s\" for none, got 30"},
          row{"keep_alive = \"500ms\"", "got \"500ms\""},
          row{"keep_alive = \"10h\"", "got \"10h\""},
          row{"user_timeout = \"10us\"", "user_timeout: expected a duration of whole milliseconds"},
          row{"user_timeout = \"25d\"", "got \"25d\""},
          row{"defer_accept = \"61m\"", "defer_accept: expected a duration of whole seconds"},
          row{"proxy_protocol = true", "proxy_protocol: expected \"off\" or \"required\", got true"},
          row{"proxy_protocol = \"optional\"", "got \"optional\""},
          row{"allow = \"10.0.0.0/8\"",
              "allow: expected an array of addresses and networks, such as [\"10.0.0.0/8\", \"::1\"], got \"10.0.0.0/8\""},
          row{"allow = []", "s.toml:4:9: listener[0].allow: is empty: nobody could mean everybody"},
          row{"allow = [10]", "s.toml:4:10: listener[0].allow[0]: expected text in quotes, got 10"},
          row{"deny = [\"::1\", \"10.1.0.0/8\"]",
              "s.toml:4:16: listener[0].deny[1]: \"10.1.0.0/8\": the address goes on behind the prefix: did you mean 10.0.0.0/8?"},
          row{"proxy_protocol = \"required\"\ntrusted_proxies = []",
              "s.toml:5:19: listener[0].trusted_proxies: is empty"},
          row{"proxy_protocol = \"required\"\ntrusted_proxies = [\"proxy\"]",
              "listener[0].trusted_proxies[0]: \"proxy\": expected an address"},
          row{"trusted_proxies = [\"::1\"]",
              "s.toml:4:1: listener[0].trusted_proxies: means nothing without proxy_protocol = \"required\""},
          row{"settings = 1", "settings: expected a table, [listener.settings], got 1"},
          row{"[listener.settings]\na = [1]",
              "s.toml:5:5: listener[0].settings.a: expected text, a number, true or false, got an array"},
          row{"[listener.settings]\n\"a b\" = 1979-05-27",
              "listener[0].settings.\"a b\": expected text, a number, true or false, got a date"},
          row{"tls = true", "listener[0].tls: expected a table, [listener.tls], got true"},
          row{"[listener.tls]\ncertificate = \"c.pem\"",
              "s.toml:4:1: listener[0].tls.key: is missing: expected a PEM file"},
          row{"[listener.tls]\nkey = \"k.pem\"", "s.toml:4:1: listener[0].tls.certificate: is missing"},
          row{"[listener.tls]\ncertificate = \"\"\nkey = \"k.pem\"",
              "s.toml:5:15: listener[0].tls.certificate: expected the name of a PEM file, got \"\""},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\ncertficates = []",
              "s.toml:7:1: listener[0].tls.certficates: unknown key; did you mean certificates?"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nmin_version = \"1.1\"",
              "tls.min_version: expected \"1.2\" or \"1.3\", got \"1.1\""},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nhandshake_timeout = 10",
              "tls.handshake_timeout: expected a duration of whole milliseconds with its unit, \"1ms\" to \"1h\", got 10"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nhandshake_timeout = \"0s\"",
              "tls.handshake_timeout: expected a duration of whole milliseconds"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nalpn = \"h2\"",
              "tls.alpn: expected an array of protocols"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nalpn = [\"h2\", \"\"]",
              "tls.alpn[1]: \"\": expected 1 to 255 bytes"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nclient_certificates = \"yes\"",
              "tls.client_certificates: expected \"none\", \"optional\" or \"required\", got \"yes\""},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nclient_certificates = \"required\"",
              "s.toml:4:1: listener[0].tls.client_ca: is missing"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\nclient_ca = \"ca.pem\"",
              "s.toml:7:1: listener[0].tls.client_ca: means nothing without client_certificates"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\ncertificates = \"b.pem\"",
              "tls.certificates: expected an array of tables"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\ncertificates = [1]",
              "tls.certificates[0]: expected a table with certificate and key, got 1"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\ncertificates = [{ certificate = \"b.pem\" }]",
              "tls.certificates[0].key: is missing"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\ncertificates = [{ certificate = \"b.pem\", key = \"b.key\", name = \"b\" }]",
              "tls.certificates[0].name: unknown key; did you mean names?"},
          row{"[listener.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\ncertificates = [{ certificate = \"b.pem\", key = \"b.key\", names = [\"*.*.b\"] }]",
              "tls.certificates[0].names[0]: \"*.*.b\": expected a name"},
          row{"v6_only = true", "s.toml:4:1: listener[0].v6_only: is for IPv6 addresses, such as [::]:80"},
          row{"unix_mode = \"0660\"",
              "s.toml:4:1: listener[0].unix_mode: is for a unix socket with a file of its own, such as unix:/run/x"},
      }) {
    CAPTURE(line);
    const std::string said = errors_of(listener_with(line));
    CAPTURE(said);
    CHECK(said.find(message) != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);  // nothing else is wrong
  }
}

TEST_CASE("what means nothing for the address is refused rather than ignored") {
  struct row {
    const char *address, *line, *message;
  };
  const char* const by_mode = "peers of a unix socket have no IP address: unix_mode says who may connect";
  for (const auto& [address, line, message] :
       {row{"unix:/x", "allow = [\"10.0.0.0/8\"]", by_mode}, row{"unix:/x", "deny = [\"10.0.0.0/8\"]", by_mode},
        row{"unix:@x", "allow = [\"::1\"]", by_mode}, row{"unix:/x", "v6_only = false", "is for IPv6 addresses"},
        row{"unix:/x", "no_delay = true", "is TCP's"}, row{"unix:/x", "keep_alive = \"1s\"", "is TCP's"},
        row{"unix:/x", "user_timeout = \"1s\"", "is TCP's"}, row{"unix:/x", "defer_accept = \"1s\"", "is TCP's"},
        row{"unix:/x", "send_buffer = 1", "is TCP's"}, row{"unix:/x", "receive_buffer = 1", "is TCP's"},
        row{"unix:/x", "accept = \"per_loop\"", "is accepted on by one loop"},
        row{"fd:web", "accept = \"per_loop\"", "is accepted on by one loop"},
        row{"unix:@x", "unix_mode = \"0660\"", "is for a unix socket with a file of its own"},
        row{"fd:web", "unix_mode = \"0660\"", "is for a unix socket with a file of its own"},
        row{"[::1]:80", "unix_mode = \"0660\"", "is for a unix socket with a file of its own"},
        row{"unix:/x", "proxy_protocol = \"required\"\ntrusted_proxies = [\"::1\"]", by_mode}}) {
    CAPTURE(address, line);
    const std::string said = errors_of(listener_with(line, address));
    CAPTURE(said);
    CHECK(said.find(message) != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
  }
  for (const auto& [address, line, message] :
       {row{"fd:web", "allow = [\"::1\"]", ""}, row{"fd:web", "no_delay = false", ""},
        row{"[::]:1", "v6_only = true", ""}, row{"unix:/x", "unix_mode = \"0600\"", ""},
        row{"unix:/x", "proxy_protocol = \"required\"", ""}}) {
    CAPTURE(address, line);
    CHECK(errors_of(listener_with(line, address)) == message);
  }
}

TEST_CASE("the permissions of a unix socket are octal text") {
  for (const char* const good : {"0660", "0777", "0001"})
    CHECK(errors_of(listener_with("unix_mode = \""s + good + "\"", "unix:/x")) == "");
  for (const char* const bad : {"\"660\"", "\"0\"", "\"0000\"", "\"0888\"", "\"1777\"", "\"4755\"", "\"u+rw\"",
                                "\"00660\"", "\"-660\"", "\"0x1b\"", "\"\"", "0o660", "660", "[\"0660\"]"}) {
    CAPTURE(bad);
    const std::string said = errors_of(listener_with("unix_mode = "s + bad, "unix:/x"));
    CHECK(said.find("expected permissions in octal, as text from \"0001\" to \"0777\" such as \"0660\", got ") !=
          std::string::npos);
  }
}

TEST_CASE("an unknown key is an error that names the nearest known one, or where it belongs") {
  struct row {
    std::string text;
    const char* message;
  };
  for (const auto& [text, message] : {
           row{listener_with("back_log = 5"), "s.toml:4:1: listener[0].back_log: unknown key; did you mean backlog?"},
           row{listener_with("Backlog = 5"), "did you mean backlog?"},
           row{listener_with("max_conections = 5"), "did you mean max_connections?"},
           row{listener_with("keepalive = \"5s\""), "did you mean keep_alive?"},
           row{listener_with("nodelay = true"), "did you mean no_delay?"},
           row{listener_with("tpye = \"x\""), "did you mean type?"},
           row{listener_with("proxy = \"required\""), "unknown key"},
           row{listener_with("colour = 1"), "unknown key; expected one of type, address, backlog, max_connections,"},
           row{listener_with("\"\" = 1"), "listener[0].\"\": unknown key; expected one of"},
           row{listener_with("\"a\\u001b\" = 1"), "listener[0].\"a\\x1b\": unknown key"},
           row{listener_with(std::string(5000, 'k') + " = 1"),
               "listener[0].\""
               "kkkk"},
           row{listener_with("loops = 5"),
               "listener[0].loops: belongs to the top of the file: write it before the first [[listener]]"},
           row{"backlog = 5\n" + listener_with(""), "s.toml:1:1: backlog: belongs to a [[listener]]"},
           row{"drain = \"5s\"\n" + listener_with(""),
               "s.toml:1:1: drain: unknown key; expected one of loops, drain_limit, drain_idle, listener"},
           row{"lops = 5\n" + listener_with(""), "did you mean loops?"},
           row{"[[listeners]]\n" + listener_with(""), "s.toml:1:3: listeners: unknown key; did you mean listener?"},
       }) {
    CAPTURE(text);
    const std::string said = errors_of(text);
    CAPTURE(said);
    CHECK(said.find(message) != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
    CHECK(said.size() < 400);
  }
}

TEST_CASE("what must be there and is not is named with the table's line") {
  CHECK(errors_of("\n[[listener]]\n") ==
        "s.toml:2:1: listener[0].type: is missing: expected the name of the function that serves it\n"
        "s.toml:2:1: listener[0].address: is missing: expected an address: \"127.0.0.1:80\", \"[::1]:80\", "
        "\"unix:/run/x\", \"unix:@name\" or \"fd:NAME\"");
  for (const char* const text : {"", "# nothing\n", "loops = 2\n"})
    CHECK(errors_of(text) == "s.toml:1:1: listener: is missing: a service has at least one [[listener]]");
  CHECK(errors_of("listener = []") == "s.toml:1:12: listener: is empty: a service has at least one [[listener]]");
  CHECK(errors_of("[listener]\ntype = \"x\"") ==
        "s.toml:1:1: listener: expected [[listener]], with two brackets on each side, got a table");
  CHECK(errors_of("listener = [1]") == "s.toml:1:13: listener[0]: expected a table, got 1");
}

TEST_CASE("two listeners of one address are refused with both lines") {
  struct row {
    const char *first, *second;
    bool same;
  };
  for (const auto& [first, second, same] :
       {row{"127.0.0.1:80", "127.0.0.1:80", true}, row{"[::1]:80", "[0:0::0:1]:80", true},
        row{"127.0.0.1:80", "127.0.0.1:0080", true}, row{"unix:/x", "unix:/x", true}, row{"fd:web", "fd:web", true},
        row{"127.0.0.1:0", "127.0.0.1:0", true}, row{"127.0.0.1:80", "127.0.0.1:81", false},
        row{"127.0.0.1:80", "127.0.0.2:80", false}, row{"unix:x", "unix:@x", false}, row{"fd:web", "fd:web2", false}}) {
    CAPTURE(first, second);
    CHECK(
        errors_of(listener_with("", first) + listener_with("", second)) ==
        (same
             ? "s.toml:6:11: listener[1].address: is the address of the listener of line 3 already: expected a different one for each"
             : ""));
  }
}

TEST_CASE("text that is no address is refused with the forms that are") {
  for (const char* const bad :
       {"\"\"", "\"localhost:80\"", "\"*:80\"", "\"127.0.0.1\"", "\":80\"", "\"80\"", "80", "\"fd:\"", "\"fd:a:b\"",
        "\"fd:a b\"", "\"fd:\\u0007\"", "\"unix:\"", "[\"127.0.0.1:80\"]"}) {
    CAPTURE(bad);
    const std::string said = errors_of("[[listener]]\ntype = \"x\"\naddress = "s + bad);
    CHECK(said.find(
              "s.toml:3:11: listener[0].address: expected an address: \"127.0.0.1:80\", \"[::1]:80\", \"unix:/run/x\", "
              "\"unix:@name\" or \"fd:NAME\", got ") == 0);
  }
}

TEST_CASE("all errors of a file are told at once, in its order, each with its place") {
  try {
    (void)parse_service_config(R"(loops = "all"
[[listener]]
type = ""
address = "127.0.0.1:80"
  backlog = "many"
allow = ["10.1.0.0/8", "::1", "x"]
[[listener]]
address = "127.0.0.1:80"
maxconnections = 4
)",
                               "s.toml");
    FAIL("no error");
  } catch (const config_error& error) {
    struct row {
      std::size_t line, column;
      const char* key;
    };
    const std::vector<row> expected = {{1, 9, "loops"},
                                       {3, 8, "listener[0].type"},
                                       {5, 13, "listener[0].backlog"},
                                       {6, 10, "listener[0].allow[0]"},
                                       {6, 31, "listener[0].allow[2]"},
                                       {7, 1, "listener[1].type"},
                                       {8, 11, "listener[1].address"},
                                       {9, 1, "listener[1].maxconnections"}};
    REQUIRE(error.errors().size() == expected.size());
    std::string lines;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const eventer::config_problem& each = error.errors()[i];
      CHECK(each.file == "s.toml");
      CHECK(each.line == expected[i].line);
      CHECK(each.column == expected[i].column);
      CHECK(each.key == expected[i].key);
      CHECK_FALSE(each.message.empty());
      lines += (i == 0 ? "" : "\n") + each.to_string();
    }
    CHECK(error.what() == lines);
    const config_error copy = error;  // what catch by value does
    CHECK(copy.errors().data() == error.errors().data());
  }
}

TEST_CASE("a syntax error has its place in the same form, and is the only one that is told") {
  for (const auto& [text, place] :
       {std::pair{"loops = \n", "s.toml:1:"},
        {"a = 1\na = 2\n", "s.toml:2:"},
        {"[[listener]\n", "s.toml:1:"},
        {"x = \"unfinished\n", "s.toml:1:"},
        {"\n\nx = 'a", "s.toml:3:"},
        {"x = [1, 2", "s.toml:1:"},
        {"x = 1 y = 2", "s.toml:1:"},
        {"= 1", "s.toml:1:1: "},
        {"x = 99999999999999999999", "s.toml:1:"},
        {"x = \xff", "s.toml:1:"},
        {"x = \"\x1b[2J\"", "s.toml:1:"},
        {"loops = 1979-13-01", "s.toml:1:"},
        {"\n  [[%x]]", "s.toml:2:3: expected a table's name"},
        {"[ %x ]", "s.toml:1:1: expected a table's name"},
        {"[\n", "s.toml:1:1: expected"},
        {"[\xc3\xa4]", "s.toml:1:1: expected"},
        {"a = 12:00:00", "s.toml:1:7: expected quotes around what has a colon in it"},
        {"a = 1979-05-27T\"x:\"", "s.toml:1:16: expected a new line, a comma, = or an opening bracket before this"},
        {"a = \"b\"\"c\"", "s.toml:1:8: expected a new line"},
        {"a = 1979-05-27 0\n", "s.toml:1:16: expected a new line, a comma"},
        {"a = [1979-05-27\t 0,1]", "s.toml:1:18: expected a new line, a comma"},
        {"a b = 1", "s.toml:1:3: expected a new line, a comma"},
        {"a = 1979-05-27Tx:", "s.toml:1:17: expected quotes"},
        {"address = 127.0.0.1:80", "s.toml:1:20: expected quotes"},
        {"a = [}]", "s.toml:1:6: a bracket is closed that was not opened"},
        {"a = {]", "s.toml:1:6: a bracket"},
        {"a]", "s.toml:1:2: a bracket"},
        {"a = -b=\"c\"", "s.toml:1:7: expected a name before the ="},
        {"a = [b = 1]", "s.toml:1:8: expected a name before the ="},
        {"a = {b = 1 c = 2}", "s.toml:1:12: expected a new line, a comma"},
        {"a = 1.\"x\"", "s.toml:1:7: expected a new line"},
        {"a = b[1]", "s.toml:1:6: expected a new line"},
        {"a = ''[b]", "s.toml:1:7: expected a new line"},
        {"[a] b = 1", "s.toml:1:5: expected a new line"},
        {"[]", "s.toml:1:"},
        {"[a.%]", "s.toml:1:"},
        {"[", "s.toml:1:"}}) {
    CAPTURE(text);
    const std::string said = errors_of(text);
    CAPTURE(said);
    CHECK(said.find(place) == 0);
    CHECK(said.find('\n') == std::string::npos);
    CHECK(said.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("letters beyond ASCII stand in strings and comments, and are refused elsewhere") {
  for (const std::string& good :
       {"# \xc3\xa4\n"s, "settings = {\"\xc3\xa4\" = '\xc3\xa4'}"s,
        "settings = {a = \"\"\"\xc3\xa4\n\xe2\x82\xac\"\"\"}"s,
        "settings = {a = \"\"\"\\\n  a\xc3\xa4\"\"\"} # \xc3\xa4"s, "[listener.'settings']\n'\xc3\xa4' = 1"s}) {
    CAPTURE(good);
    CHECK(errors_of(listener_with(good)) == "");
  }
  for (const auto& [bad, place] : {std::pair{"\xc3\xa4 = 1", "s.toml:4:1: "},
                                   {"a = \xc3\xa4", "s.toml:4:5: "},
                                   {"a = 1\xc3\xa4", "s.toml:4:6: "},
                                   {"a = 'x'\xe2\x80\x80", "s.toml:4:8: "},
                                   {"[a\xc3\xa4]", "s.toml:4:3: "},
                                   {"a = \"\"\"\\\xc3\xa4\"\"\"", "s.toml:4:8: "},
                                   {"a = \"\"\"\\\n \xc3\xa4\"\"\"", "s.toml:4:8: "}}) {
    CAPTURE(bad);
    const std::string said = errors_of(listener_with(bad));
    CAPTURE(said);
    CHECK(said.find(place) == 0);
    CHECK(said.find("ASCII") != std::string::npos);
  }
}

TEST_CASE("columns are counted in characters") {
  CHECK(errors_of(listener_with("settings = {\"\xc3\xbc\xe2\x82\xac\" = \"\xc3\xa4\", b = []}")) ==
        "s.toml:4:29: listener[0].settings.b: expected text, a number, true or false, got an array");
  CHECK(errors_of("\"\xc3\xbc\" = [[[[[[[[[") == "s.toml:1:15: values are nested too deeply: at most 8 levels");
}

TEST_CASE("of very many errors the first hundred are told, and how many there are beside") {
  std::string text = listener_with("[listener.settings]\n");
  for (int i = 0; i < 250; ++i) text += "k" + std::to_string(1000 + i) + " = []\n";
  try {
    (void)parse_service_config(text, "s.toml");
    FAIL("no error");
  } catch (const config_error& error) {
    REQUIRE(error.errors().size() == 101);
    CHECK(error.errors()[99].line == 104);
    CHECK(error.errors()[100].to_string() == "s.toml: and 150 more errors");
  }
}

TEST_CASE("deep nesting is refused before anything follows it with recursion") {
  const auto repeated = [](std::string_view what, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += what;
    return text;
  };
  constexpr int many = 100'000;
  for (const std::string& text :
       {repeated("[", many), "a = " + repeated("[", many), "a = " + repeated("{a=", many),
        "a = " + repeated("[{a=", many), repeated("a.", many) + "a = 1", "[" + repeated("a.", many) + "a]",
        "[[" + repeated("a.", many) + "a]]", repeated("\"a\".", many) + "a = 1", repeated("'#' . ", many) + "a = 1",
        "a = {" + repeated("b.", many) + "a = 1}", "a = [\"\"\"b\"\"\"\"\", {" + repeated("b.", many) + "a = 1}]",
        "a = ['''b''''', {" + repeated("b.", many) + "a = 1}]", "a = [\"\", {" + repeated("b.", many) + "a = 1}]",
        "a = [\"\\\"\", {" + repeated("b.", many) + "a = 1}]", "a = ['\\', {" + repeated("b.", many) + "a = 1}]",
        "a = \"\"\"\\\"\"\"\"\n" + repeated("b.", many) + "a = 1", "a = 1 # \" '\n" + repeated("b.", many) + "a = 1",
        "a = '''\n'\n'''\n" + repeated("b.", many) + "a = 1"}) {
    CAPTURE(text.substr(0, 30));
    const std::string said = errors_of(text);
    CAPTURE(said.substr(0, 200));
    CHECK((said.find("values are nested too deeply") != std::string::npos ||
           said.find("a key has too many parts") != std::string::npos ||
           said.find("expected a table's name") != std::string::npos));
  }
  CHECK(errors_of(repeated("a.b = 1\n", 10'001)).find("too many dots") != std::string::npos);
  CHECK(errors_of(listener_with("settings = {a = \"" + repeated(".", 20'000) + repeated("[", 100) + "\"} # " +
                                repeated("[.", 20'000))) == "");
}

TEST_CASE("a file is read, and one that can't be is named with the reason") {
  char folder[] = "/tmp/eventer-config-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string path = std::string(folder) + "/service.toml";
  const auto write = [&](const std::string& text) {
    std::FILE* const file = std::fopen(path.c_str(), "w");
    REQUIRE(file != nullptr);
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
  };
  const auto said = [](const std::string& file) -> std::string {
    try {
      (void)read_service_file(file);
      return {};
    } catch (const config_error& error) {
      CHECK(error.errors().size() == 1);
      return error.what();
    }
  };
  CHECK(said(path) == path + ": can't be read: No such file or directory");
  CHECK(said(folder) == std::string(folder) + ": can't be read: it is no regular file");
  CHECK(said("a\0b"s).find("can't be read: its name has a NUL in it") != std::string::npos);
  write(listener_with("# " + std::string(100'000, 'x')));
  CHECK(said(path) == "");
  CHECK(read_service_file(path).listeners.at(0).source == path + ":1");
  write(listener_with("backlog = 0"));
  CHECK(said(path) == path + ":4:11: listener[0].backlog: expected a whole number from 1 to 65535, got 0");
  const std::string full = listener_with("# ");
  write(full + std::string((1 << 20) - full.size(), 'x'));
  CHECK(said(path) == "");
  write(full + std::string((1 << 20) - full.size() + 1, 'x'));
  CHECK(said(path) == path + ": longer than 1 MiB: this is no configuration file");
  ::unlink(path.c_str());
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK(said(path) == path + ": can't be read: it is no regular file");
  ::unlink(path.c_str());
  ::rmdir(folder);
}

TEST_CASE("the deepest text that is taken is read on a coroutine's stack") {
  std::string said;
  eventer::run([&said] { said = errors_of(listener_with("settings = {a = [[[[[[{a.b.c.d.e.f.g.h.i = 1}]]]]]]}")); });
  CHECK(said.find("got an array") != std::string::npos);
}

TEST_CASE("[listener.tls] is read into plain data") {
  const auto config = eventer::parse_service_config(listener_with(R"(
[listener.tls]
certificate = "a.pem"
key = "a.key"
certificates = [{ certificate = "b.pem", key = "b.key", names = ["b.test", "*.b.test"] }, { certificate = "c.pem", key = "c.key" }]
alpn = ["h2", "http/1.1"]
client_certificates = "optional"
client_ca = "ca.pem"
handshake_timeout = "3s"
min_version = "1.3")"),
                                                    "s.toml");
  REQUIRE(config.listeners.at(0).tls);
  const eventer::tls_config& tls = *config.listeners.at(0).tls;
  CHECK(tls.source == "s.toml:5");
  CHECK(tls.main.certificate == "a.pem");
  CHECK(tls.main.key == "a.key");
  REQUIRE(tls.certificates.size() == 2);
  CHECK(tls.certificates[0].certificate == "b.pem");
  CHECK(tls.certificates[0].names == std::vector<std::string>{"b.test", "*.b.test"});
  CHECK(tls.certificates[1].key == "c.key");
  CHECK(tls.certificates[1].names.empty());
  CHECK(tls.alpn == std::vector<std::string>{"h2", "http/1.1"});
  CHECK(tls.client_certificates == eventer::tls_client_certificates::optional);
  CHECK(tls.client_ca == "ca.pem");
  CHECK(tls.handshake_timeout == 3s);
  CHECK(tls.min_version == eventer::tls_min_version::tls_1_3);
  const auto plain =
      eventer::parse_service_config(listener_with("[listener.tls]\ncertificate = \"a\"\nkey = \"b\""), "s");
  CHECK(plain.listeners.at(0).tls->handshake_timeout == 10s);
  CHECK(!eventer::parse_service_config(listener_with(""), "s").listeners.at(0).tls);
}
