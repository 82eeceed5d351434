// eventer/listeners.hpp: listeners from a TOML file, and what a reload of one says.
#include "eventer/listeners.hpp"

#include <fstream>

#include "../listener/servers.hpp"

namespace {

void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

}  // namespace

TEST_CASE("listeners start from a file, are changed by it, and stay as they were where it has errors") {
  const scratch_folder folder;
  const std::string path = folder.file("service.toml");
  write(path, R"(
loops = 2
[[listener]]
type = "lines"
address = "127.0.0.1:0"
)");
  eventer::loop_pool pool(2);
  pool.start();
  auto all = eventer::start_listeners(path, line_registry(), pool);
  const std::string where = all.statistics().at(0).local;
  plain_client client(where);
  CHECK(client.ask("a") == "1 a");

  write(path, R"(
[[listener]]
type = "others"
address = "127.0.0.1:0"
max_connections = 2

[[listener]]
type = "lines"
address = "unix:)" +
                  folder.file("a") + R"("
)");
  all.reload();
  CHECK(client.ask("b") == "1 b");
  CHECK(plain_client(where).ask("c") == "2 c");
  CHECK(plain_client(folder.address("a")).ask("d") == "1 d");

  write(path, R"(
[[listener]]
type = "liens"
address = "127.0.0.1:0"
)");
  try {
    all.reload();
    CHECK(false);
  } catch (const eventer::config_error& error) {
    CAPTURE(error.what());
    REQUIRE(error.errors().size() == 1);
    CHECK(std::string(error.what())
              .starts_with(path + ":2: type: nothing is registered as \"liens\"; did you mean \"lines\"?"));
  }
  write(path, "[[listener]\nbacklog = \"many\"");
  CHECK_THROWS_AS(all.reload(), eventer::config_error);
  CHECK(plain_client(where).ask("e") == "2 e");
  CHECK(all.drain(10s, 1ms) == 0);
  CHECK_THROWS_AS(eventer::start_listeners(folder.file("b"), line_registry(), pool), eventer::config_error);
}
