// router::files and response::send_file: which files are served, and what is said of them.
#include "../captured_log.hpp"
#include "../faults.hpp"
#include "../plain_descriptors.hpp"
#include "../virtual_run.hpp"
#include "folder.hpp"
#include "http_client.hpp"

#include <sys/sysmacros.h>
#include <sys/un.h>

using namespace http_test;
using system_call = eventer::syscalls::call;

namespace {

http::server serving(const folder& from, http::file_options options = {}, std::string_view mount = "/") {
  http::router routes;
  routes.files(mount, from.path(), std::move(options));
  return http::server(std::move(routes));
}
answer ask_once(const http::server& server, std::string_view target, std::string_view fields = {}) {
  served peer(server);
  return peer.ask(get(target, fields));
}
int status_of(const http::server& server, std::string_view target, std::string_view fields = {}) {
  return ask_once(server, target, fields).status;
}

}  // namespace

TEST_CASE("a file is sent with its type, its length and what it is known by") {
  const folder documents;
  documents.file("a.txt", "text a");
  documents.date("a.txt", 784111777);
  documents.file("empty", "");
  run_virtually([&documents] {
    const http::server server = serving(documents, {.cache_control = "public, max-age=60"}, "/static/");
    served peer(server);
    for (const bool to_head : {false, true}) {
      const std::string method = to_head ? "HEAD" : "GET";
      const answer got = peer.ask(method + " /static/a.txt HTTP/1.1\r\nHost: a\r\n\r\n", to_head);
      CHECK(got.status == 200);
      CHECK(got.body == (to_head ? "" : "text a"));
      CHECK(got.field("content-length") == "6");
      CHECK(got.field("content-type") == "text/plain; charset=utf-8");
      CHECK(got.field("last-modified") == "Sun, 06 Nov 1994 08:49:37 GMT");
      CHECK(got.field("accept-ranges") == "bytes");
      CHECK(got.field("cache-control") == "public, max-age=60");
      CHECK(got.field("x-content-type-options") == "nosniff");
      const std::string tag = got.field("etag");
      CHECK((tag.size() > 8 && tag.front() == '"' && tag.back() == '"' && tag.find('"', 1) == tag.size() - 1));
      const answer empty = peer.ask(method + " /static/empty HTTP/1.1\r\nHost: a\r\n\r\n", to_head);
      CHECK((empty.status == 200 && empty.body.empty() && empty.field("content-length") == "0"));
      CHECK(empty.field("content-type") == "application/octet-stream");
      CHECK(empty.field("etag") != tag);
    }
    const std::string before = peer.ask(get("/static/a.txt")).field("etag");
    CHECK(peer.ask(get("/static/a.txt")).field("etag") == before);
    documents.file("a.txt", "text b");
    CHECK(peer.ask(get("/static/a.txt")).field("etag") != before);  // of the same size
    documents.date("a.txt", 784111777);
    CHECK(peer.ask(get("/static/a.txt")).field("etag") == before);
    documents.file("new.txt", "text b");
    documents.date("new.txt", 784111777);
    std::filesystem::rename(documents.path("new.txt"), documents.path("a.txt"));
    CHECK(peer.ask(get("/static/a.txt")).field("etag") != before);  // another file
    CHECK(peer.ask(get("/a.txt")).status == 404);
  });
}

TEST_CASE("other methods are refused, and the route takes rules like any other") {
  const folder documents;
  documents.file("a.txt", "text a");
  run_virtually([&documents] {
    http::router routes;
    const auto seen = std::make_shared<int>(0);
    routes.files("/", documents.path()).use([seen](http::request&, http::response&, const http::next& next) {
      ++*seen;
      next();
    });
    routes.files("/private", documents.path()).allow("192.0.2.0/24");
    routes.files("/counted", documents.path()).use([seen](http::request&, http::response&, const http::next& next) {
      ++*seen;
      next();
    });
    routes.get("/{name}/own", [](http::request&, http::response& answer) { answer.text("own"); });
    const http::server server(std::move(routes));
    served peer(server);
    const answer posted = peer.ask(post("/a.txt", "body"));
    CHECK((posted.status == 405 && posted.field("allow") == "GET, HEAD"));
    const answer options = peer.ask("OPTIONS /a.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK((options.status == 204 && options.field("allow") == "GET, HEAD"));
    CHECK(peer.ask(get("/private/a.txt")).status == 403);
    CHECK(*seen == 0);
    CHECK(peer.ask(get("/a.txt")).status == 200);
    CHECK(*seen == 1);
    CHECK(peer.ask(get("/x/own")).body == "own");
    CHECK(peer.ask(get("/private")).status == 403);  // the redirect is the same route
    const answer folder = peer.ask(get("/counted?a=1"));
    CHECK((folder.status == 301 && folder.field("location") == "./counted/?a=1"));
    CHECK(*seen == 2);
    CHECK(peer.ask(get("/counted/a.txt")).body == "text a");
    http::router twice;
    twice.get("/x", [](http::request&, http::response& answer) { answer.text("x"); });
    CHECK_THROWS_WITH(twice.files("/x", documents.path()), Catch::Contains("route \"GET\" \"/x\": the same paths"));
  });
}

TEST_CASE("no path leads out of the directory") {
  const folder around;
  around.file("secret", "secret");
  around.folder_in("root");
  around.folder_in("root/sub");
  around.file("root/a.txt", "text a");
  around.file("root/sub/b.txt", "text b");
  around.file("root/100%.txt", "percent");
  around.file("root/%2e%2e", "encoded name");
  around.file("root/back\\slash", "backslash");
  around.link("root/in", "sub/b.txt");
  around.link("root/in_up", "sub/../a.txt");
  around.link("root/out", "../secret");
  around.link("root/absolute", around.path("secret"));
  around.link("root/absolute_in", around.path("root/a.txt"));
  around.link("root/up", "..");
  around.link("root/loop", "loop");
  around.link("root/proc", "/proc/self/root");
  const folder documents;
  run_virtually([&around] {
    http::router routes;
    routes.files("/static/", around.path("root"), {.hidden = true});
    const http::server server(std::move(routes));
    const std::string long_name(300, 'x'), long_path = "/static/" + std::string(6000, 'y') + "/x";
    struct row {
      std::string target;
      int status;
    };
    const row rows[] = {
        {"/static/a.txt", 200},
        {"/static/sub/b.txt", 200},
        {"/static/./sub/./b.txt", 200},
        {"/static/sub/../a.txt", 200},
        {"/static/%61.txt", 200},
        {"/static/100%25.txt", 200},
        {"/static/%252e%252e", 200},  // a name like any other
        {"/static/back%5Cslash", 200},
        {"/static/back\\slash", 200},
        {"/static/in", 200},
        {"/static/in_up", 200},
        {"/static/../secret", 404},
        {"/static/../../secret", 404},
        {"/../static/../secret", 404},
        {"/static/sub/../../secret", 404},
        {"/static/%2e%2e/secret", 404},
        {"/static/%2E%2e/secret", 404},
        {"/static/.%2e/secret", 404},
        {"/static/..%2fsecret", 400},
        {"/static/..%2Fsecret", 400},
        {"/static/sub%2f..%2f..%2fsecret", 400},
        {"/static/sub%2Fb.txt", 404},
        {"/static/%2fetc%2fpasswd", 404},
        {"/static/..%5csecret", 404},
        {"/static/..\\secret", 404},
        {"/static/%5c..%5csecret", 404},
        {"/static/..%252fsecret", 404},
        {"/static/%252e%252e/secret", 404},
        {"/static/%252e%252e%252fsecret", 404},
        {"/static/..%c0%afsecret", 404},
        {"/static/%c0%ae%c0%ae/secret", 404},
        {"/static/..;/secret", 404},
        {"/static/.../secret", 404},
        {"/static/a.txt%00", 400},
        {"/static/a.txt%00.html", 400},
        {"/static/%00", 400},
        {"/static/a.txt%0a", 400},
        {"/static//a.txt", 404},
        {"/static/sub//b.txt", 404},
        {"/static//etc/passwd", 404},
        {"/static///etc/passwd", 404},
        {"/static/a.txt/", 404},
        {"/static/a.txt/b", 404},
        {"/static/a.txt/..", 404},
        {"/static/out", 404},
        {"/static/absolute", 404},
        {"/static/absolute_in", 404},
        {"/static/up/secret", 404},
        {"/static/up/root/a.txt", 404},
        {"/static/loop", 404},
        {"/static/proc/etc/passwd", 404},
        {"/static/nothing", 404},
        {"/static/~root", 404},
        {"/static/" + long_name, 404},
        {long_path, 404},
        {"/static/%zz", 400},
        {"/static/%", 400},
    };
    for (const row& each : rows) {
      CAPTURE(each.target);
      served peer(server);
      const answer got = peer.ask(get(each.target));
      CHECK(got.status == each.status);
      CHECK(got.body.find("secret") == std::string::npos);
      CHECK(got.body.find("root:") == std::string::npos);
    }
  });
}

TEST_CASE("without openat2 the same files are served, but behind no link") {
  const folder around;
  around.file("secret", "secret");
  around.folder_in("root");
  around.folder_in("root/sub");
  around.file("root/sub/b.txt", "text b");
  around.link("root/in", "sub/b.txt");
  around.link("root/folder", "sub");
  around.link("root/out", "../secret");
  const eventer::unique_fd root = http::detail::open_root(around.path("root"));
  REQUIRE(root);
  const std::tuple<const char*, bool, bool> rows[] = {
      {"sub/b.txt", true, true},    {"/sub//b.txt", true, true},   {"", true, true},
      {"sub", true, true},          {"sub/", true, true},          {"sub//", true, true},
      {"sub/b.txt/", false, false}, {"in", true, false},           {"folder/b.txt", true, false},
      {"out", false, false},        {"sub/../in", true, false},    {"../secret", false, false},
      {"nothing", false, false},    {"sub/b.txt/c", false, false}, {"..", false, false},
      {"sub/..", true, false}};
  for (const auto& [path, with, without] : rows) {
    CAPTURE(path);
    using http::detail::lookup;
    CHECK(static_cast<bool>(http::detail::open_beneath(root.get(), path, lookup::anywhere, true)) == with);
    CHECK(static_cast<bool>(http::detail::open_beneath(root.get(), path, lookup::anywhere, false)) == without);
  }
}

TEST_CASE("a directory is answered with its index, behind a slash, and is never listed") {
  const folder documents;
  documents.file("index.html", "top");
  documents.folder_in("sub");
  documents.file("sub/index.html", "below");
  documents.folder_in("none");
  documents.file("none/a.txt", "text a");
  documents.folder_in("other");
  documents.file("other/start.htm", "start");
  documents.folder_in("folder");
  documents.folder_in("folder/index.html");
  documents.folder_in("http:x");
  run_virtually([&documents] {
    const http::server at_root = serving(documents);
    CHECK(ask_once(at_root, "/").body == "top");
    CHECK(ask_once(at_root, "/").field("content-type") == "text/html; charset=utf-8");
    const http::server server = serving(documents, {}, "/static/");
    CHECK(ask_once(server, "/static/").body == "top");
    CHECK(ask_once(server, "/static/sub/").body == "below");
    CHECK(ask_once(server, "/static/sub/.").body == "below");
    CHECK(status_of(server, "/static/none/") == 404);
    CHECK(status_of(server, "/static/other/") == 404);
    CHECK(status_of(server, "/static/folder/") == 404);
    CHECK(status_of(server, "/static/nothing/") == 404);
    const std::pair<const char*, const char*> redirects[] = {
        {"/static/sub", "./sub/"},    {"/static/sub?a=1&b=%2F", "./sub/?a=1&b=%2F"},  {"/static/none", "./none/"},
        {"/static/./sub", "./sub/"},  {"/static/folder/index.html", "./index.html/"}, {"/static/http:x", "./http:x/"},
        {"/static/%73ub", "./%73ub/"}};
    for (const auto& [target, wanted] : redirects) {
      CAPTURE(target);
      const answer got = ask_once(server, target);
      CHECK(got.status == 301);
      CHECK(got.field("location") == wanted);
    }
    for (const char* target : {"//sub", "//sub/..", "//example.com/..", "//example.com/%2e%2e", "/%5Cexample.com"}) {
      CAPTURE(target);
      CHECK(status_of(at_root, target) != 301);
    }
    const http::server bare = serving(documents, {}, "/static");
    CHECK(ask_once(bare, "/static/").body == "top");
    CHECK(ask_once(bare, "/static?a=1").field("location") == "./static/?a=1");
    CHECK(status_of(bare, "/static") == 301);
    CHECK(status_of(bare, "/statics") == 404);
    CHECK(status_of(server, "/static") == 404);  // is somebody else's
    const http::server other = serving(documents, {.index = {"start.htm", "index.html"}});
    CHECK(ask_once(other, "/other/").body == "start");
    CHECK(ask_once(other, "/sub/").body == "below");
    CHECK(status_of(serving(documents, {.index = {}}), "/") == 404);
  });
}

TEST_CASE("names that begin with a dot are not there, unless they are asked for in the options") {
  const folder documents;
  documents.file(".env", "password");
  documents.folder_in(".git");
  documents.file(".git/config", "remote");
  documents.folder_in("sub");
  documents.file("sub/..a", "two dots");
  run_virtually([&documents] {
    const http::server server = serving(documents);
    const http::server open = serving(documents, {.hidden = true});
    for (const char* target : {"/.env", "/%2eenv", "/.git/config", "/.git", "/.git/", "/sub/..a", "/sub/%2E.a"}) {
      CAPTURE(target);
      CHECK(status_of(server, target) == 404);
      const int status = status_of(open, target);
      CHECK((status == 200 || status == 301 || target == "/.git/"s));
    }
  });
}

TEST_CASE("only regular files are served, and opening what is none does not wait") {
  const folder documents;
  REQUIRE(::mkfifo(documents.path("fifo").c_str(), 0666) == 0);
  const bool has_device = ::mknod(documents.path("null").c_str(), S_IFCHR | 0666, ::makedev(1, 3)) == 0;
  const eventer::unique_fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  documents.path("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  run_virtually([&documents, has_device] {
    const http::server server = serving(documents);
    CHECK(status_of(server, "/fifo") == 404);
    CHECK(status_of(server, "/socket") == 404);
    if (has_device) CHECK((status_of(server, "/null") == 404 || status_of(server, "/null") == 403));
  });
}

TEST_CASE("the directory is the one that was there, and one that is not there is refused with a sentence") {
  const folder around;
  around.folder_in("root");
  around.file("root/a.txt", "first");
  around.file("file", "");
  run_virtually([&around] {
    const http::server server = serving(around, {}, "/");
    http::router routes;
    routes.files("/", around.path("root"));
    const http::server of_root(std::move(routes));
    std::filesystem::rename(around.path("root"), around.path("moved"));
    around.folder_in("root");
    around.file("root/a.txt", "second");
    CHECK(ask_once(of_root, "/a.txt").body == "first");
    const auto refused = [](std::string_view mount, const std::string& directory) -> std::string {
      http::router other;
      try {
        other.files(mount, directory);
      } catch (const std::invalid_argument& failure) {
        return failure.what();
      }
      return "taken";
    };
    CHECK(refused("/", around.path("none")) ==
          "files at \"/\": the directory \"" + around.path("none") + "\" can't be opened: No such file or directory");
    CHECK(refused("/", around.path("file")).find("Not a directory") != std::string::npos);
    CHECK(refused("/x", around.path()) == "taken");
    CHECK(refused("x/", around.path()).find("a mount begins") != std::string::npos);
    CHECK(refused("/x/", around.path()) == "taken");
    CHECK(refused("/x/{name}/", around.path()).find("a mount has no parameters") != std::string::npos);
    CHECK(refused("/{name...}", around.path()).find("a mount has no parameters") != std::string::npos);
    for (const bool is_type : {false, true}) {
      http::file_options bad;
      (is_type ? bad.types.emplace_back("x", "").second : bad.cache_control) = "a\r\nb";
      http::router other;
      CHECK_THROWS_WITH(other.files("/", around.path(), bad), Catch::Contains("has a line feed"));
    }
  });
}

TEST_CASE("conditional requests: 304 with what a cache needs, 412") {
  const folder documents;
  documents.file("a.txt", "text a");
  documents.date("a.txt", 784111777);
  run_virtually([&documents] {
    const http::server server = serving(documents, {.cache_control = "no-cache"});
    served peer(server);
    const std::string tag = peer.ask(get("/a.txt")).field("etag");
    for (const std::string& fields :
         {"If-None-Match: " + tag + "\r\n", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n"s}) {
      for (const bool to_head : {false, true}) {
        const answer got =
            peer.ask((to_head ? "HEAD"s : "GET"s) + " /a.txt HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n", to_head);
        CHECK(got.status == 304);
        CHECK(got.field("etag") == tag);
        CHECK(got.field("cache-control") == "no-cache");
        CHECK(got.field("last-modified") == "Sun, 06 Nov 1994 08:49:37 GMT");
        CHECK((got.count("date") == 1 && got.count("content-length") == 0 && got.count("content-type") == 0));
      }
    }
    CHECK(peer.ask(get("/a.txt", "If-None-Match: \"x\"\r\n")).body == "text a");
    CHECK(peer.ask(get("/a.txt", "If-Match: \"x\"\r\n")).status == 412);
    CHECK(peer.ask(get("/a.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n")).status == 412);
    CHECK(peer.ask(get("/a.txt", "If-Match: " + tag + "\r\n")).status == 200);
    CHECK(peer.ask(get("/nothing", "If-None-Match: *\r\n")).status == 404);
    const answer part = peer.ask(get("/a.txt", "Range: bytes=0-1\r\nIf-Range: " + tag + "\r\n"));
    CHECK((part.status == 206 && part.body == "te"));
    CHECK(peer.ask(get("/a.txt", "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n")).body == "text a");
    CHECK(peer.ask(get("/a.txt", "Range: bytes=9-\r\nIf-Range: \"x\"\r\n")).status == 200);
    CHECK(peer.ask(get("/a.txt", "Range: bytes=0-1\r\nIf-None-Match: " + tag + "\r\n")).status == 304);
    CHECK(peer.ask(get("/a.txt", "Range: bytes=0-1\r\nIf-Match: \"x\"\r\n")).status == 412);
  });
}

TEST_CASE("ranges: one, several as parts, none") {
  const folder documents;
  const std::string content = some_content(5000);
  documents.file("a.html", content);
  run_virtually([&documents, &content] {
    const http::server server = serving(documents, {.max_ranges = 4});
    served peer(server);
    const answer one = peer.ask(get("/a.html", "Range: bytes=100-299\r\n"));
    CHECK((one.status == 206 && one.body == content.substr(100, 200)));
    CHECK(one.field("content-range") == "bytes 100-299/5000");
    CHECK(one.field("content-length") == "200");
    CHECK(one.field("content-type") == "text/html; charset=utf-8");
    CHECK(one.count("etag") == 1);
    CHECK(peer.ask(get("/a.html", "Range: bytes=-7\r\n")).body == content.substr(4993));
    CHECK(peer.ask(get("/a.html", "Range: bytes=4990-\r\n")).field("content-range") == "bytes 4990-4999/5000");

    const answer several = peer.ask(get("/a.html", "Range: bytes=4000-4009, 0-4, -3\r\n"));
    CHECK((several.status == 206 && several.count("content-range") == 0));
    const std::string type = several.field("content-type"), begin = "multipart/byteranges; boundary=";
    REQUIRE(type.starts_with(begin));
    const std::string boundary = type.substr(begin.size());
    const auto part = [&](std::size_t from, std::size_t bytes) {
      return "\r\n--" + boundary + "\r\nContent-Type: text/html; charset=utf-8\r\nContent-Range: bytes " +
             std::to_string(from) + "-" + std::to_string(from + bytes - 1) + "/5000\r\n\r\n" +
             content.substr(from, bytes);
    };
    CHECK(several.body == part(4000, 10) + part(0, 5) + part(4997, 3) + "\r\n--" + boundary + "--\r\n");
    CHECK(several.field("content-length") == std::to_string(several.body.size()));
    const answer again = peer.ask(get("/a.html", "Range: bytes=4000-4009, 0-4, -3\r\n"));
    CHECK(again.field("content-type") != type);

    const answer behind = peer.ask(get("/a.html", "Range: bytes=5000-\r\n"));
    CHECK(behind.status == 416);
    CHECK(behind.field("content-range") == "bytes */5000");
    CHECK(behind.field("accept-ranges") == "bytes");
    CHECK((behind.count("etag") == 0 && behind.body == "416 Range Not Satisfiable\n"));
    for (const char* field : {"bytes=1-0", "lines=0-1", "bytes=0-0,1000-1000,2000-2000,3000-3000,4000-4000",
                              "bytes=0-,0-", "bytes=0-1\r\nRange: bytes=0-1"}) {
      CAPTURE(field);
      const answer whole = peer.ask(get("/a.html", "Range: "s + field + "\r\n"));
      CHECK((whole.status == 200 && whole.body == content));
    }
    const answer head = peer.ask("HEAD /a.html HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n", true);
    CHECK((head.status == 200 && head.field("content-length") == "5000"));

    served of_none(serving(documents, {.max_ranges = 0}));
    const answer whole = of_none.ask(get("/a.html", "Range: bytes=0-1\r\n"));
    CHECK((whole.status == 200 && whole.field("accept-ranges") == "none" && whole.body == content));
  });
}

TEST_CASE("what opening fails with decides the status, and what is the server's fault is logged") {
  const folder documents;
  documents.file("a.txt", "text a");
  const auto before = open_descriptors();
  const std::pair<int, int> rows[] = {{ENOENT, 404}, {ENOTDIR, 404}, {ELOOP, 404},  {ENAMETOOLONG, 404},
                                      {EXDEV, 404},  {ENXIO, 404},   {EACCES, 403}, {EMFILE, 503},
                                      {ENFILE, 503}, {ENOMEM, 503},  {EIO, 500},    {EINTR, 200},
                                      {ENOSYS, 200}, {EPERM, 200},   {EINVAL, 200}, {EAGAIN, 200}};
  for (const auto& [error, status] : rows) {
    CAPTURE(std::generic_category().message(error));
    const captured_log log;
    run_virtually([&documents, error = error, status = status] {
      const http::server server = serving(documents);
      served peer(server);
      faults world;
      world.fail(system_call::openat2, error);
      const answer got = peer.ask(get("/a.txt"));
      CHECK(world.faults_left(system_call::openat2) == 0);
      CHECK(got.status == status);
      if (status == 200) CHECK(got.body == "text a");
      CHECK(peer.ask(get("/a.txt")).status == 200);  // the connection goes on
    });
    CHECK(log.count("a.txt") == (status >= 500 ? 1u : 0u));
  }
  {
    const captured_log log;
    run_virtually([&documents] {
      const http::server server = serving(documents);
      faults world;
      world.fail(system_call::fstat, EIO);
      CHECK(status_of(server, "/a.txt") == 500);
    });
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("what is not in the page cache is opened and read on the queue, and the loop goes on") {
  const folder documents;
  const std::string content = some_content(300'000);
  documents.file("a.bin", content);
  const eventer::job_queue jobs("test files");
  for (const int error : {EAGAIN, EOPNOTSUPP, ENOSYS}) {
    CAPTURE(error);
    run_virtually([&documents, &content, &jobs, error] {
      const http::server server = serving(documents, {.queue = jobs});
      served peer(server);
      const auto finished = jobs.stats().submitted;
      faults world;
      world.fail(system_call::openat2, error == EOPNOTSUPP ? EAGAIN : error);
      world.fail(system_call::preadv2, error, 1000);
      CHECK(peer.ask(get("/a.bin")).body == content);
      const auto used = jobs.stats().submitted - finished;
      CHECK((used > 4 && used < 9));
      world.fail(system_call::preadv2, 0, 0);
      CHECK(peer.ask(get("/a.bin")).body == content);
      CHECK(jobs.stats().submitted - finished == used);
    });
  }
}

TEST_CASE("with a status that has no body nothing of the file is sent, and the next answer is the next one") {
  const folder documents;
  documents.file("a.txt", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\nbad");
  run_virtually([&documents] {
    http::router routes;
    routes.get("/with/{status}", [&documents](http::request& asked, http::response& answer) {
      answer.status(std::stoi(std::string(asked.capture(1)))).header("Content-Disposition", "attachment");
      CHECK(answer.send_file(documents.path("a.txt")));
    });
    routes.get("/next", [](http::request&, http::response& answer) { answer.text("next"); });
    served peer{http::server(std::move(routes))};
    for (const int status : {204, 304}) {
      for (const bool to_head : {false, true}) {
        CAPTURE(status, to_head);
        const std::string first =
            (to_head ? "HEAD" : "GET") + " /with/"s + std::to_string(status) + " HTTP/1.1\r\nHost: a\r\n\r\n";
        REQUIRE(peer.send(first + get("/next")));
        const answer got = peer.read(to_head);
        CHECK(got.status == status);
        CHECK((got.count("content-length") == 0 && got.count("content-type") == 0));
        CHECK((got.count("content-disposition") == 0 && got.count("etag") == 1));
        CHECK(peer.read().body == "next");
      }
    }
  });
}

TEST_CASE("dates: a handler's own is compared, none of the future is sent, and one of this second proves nothing") {
  const folder documents;
  const std::string old_date = "Sun, 06 Nov 1994 08:49:37 GMT";
  documents.file("a.txt", "text a");
  documents.date("a.txt", 784111777 + 1000);
  documents.file("new", "text");
  documents.file("future", "text");
  documents.date("future", std::time(nullptr) + 100'000);
  run_virtually([&] {
    http::router routes;
    routes.get("/own", [&](http::request&, http::response& answer) {
      (void)answer.header("Last-Modified", old_date).send_file(documents.path("a.txt"));
    });
    routes.get("/none", [&](http::request&, http::response& answer) {
      (void)answer.header("Last-Modified", "no date").send_file(documents.path("a.txt"));
    });
    routes.files("/", documents.path());
    served peer{http::server(std::move(routes))};
    const std::string since = "If-Modified-Since: " + old_date + "\r\n";
    CHECK(peer.ask(get("/a.txt", since)).status == 200);
    CHECK(peer.ask(get("/own", since)).status == 304);
    CHECK(peer.ask(get("/none", since)).status == 200);
    CHECK(peer.ask(get("/a.txt", "If-Unmodified-Since: " + old_date + "\r\n")).status == 412);
    CHECK(peer.ask(get("/own", "If-Unmodified-Since: " + old_date + "\r\n")).status == 200);
    CHECK(peer.ask(get("/none", "If-Unmodified-Since: " + old_date + "\r\n")).status == 200);
    const std::string range = "Range: bytes=0-0\r\nIf-Range: ";
    CHECK(peer.ask(get("/own", range + old_date + "\r\n")).status == 206);
    CHECK(peer.ask(get("/a.txt", range + old_date + "\r\n")).status == 200);
    CHECK(peer.ask(get("/none", range + old_date + "\r\n")).status == 200);
    CHECK(peer.ask(get("/none", range + "no date\r\n")).status == 200);

    const answer future = peer.ask(get("/future"));
    CHECK(*http::parse_date(future.field("last-modified")) <= *http::parse_date(future.field("date")));
    CHECK(peer.ask(get("/new")).status == 200);
    documents.date("new", std::time(nullptr));
    const std::string now = peer.ask(get("/new")).field("last-modified");
    CHECK(peer.ask(get("/new", range + now + "\r\n")).status == 200);
  });
}

TEST_CASE("416 keeps what others have set, and says nothing about the content") {
  const folder documents;
  documents.file("a.txt", "text a");
  run_virtually([&documents] {
    http::router routes;
    routes.use([](http::request&, http::response& answer, const http::next& next) {
      answer.header("Access-Control-Allow-Origin", "*").header("Content-Encoding", "x-own");
      next();
    });
    routes.files("/", documents.path(), {.cache_control = "max-age=1"});
    served peer{http::server(std::move(routes))};
    const answer got = peer.ask(get("/a.txt", "Range: bytes=6-\r\n"));
    CHECK((got.status == 416 && got.body == "416 Range Not Satisfiable\n"));
    CHECK((got.field("content-range") == "bytes */6" && got.field("accept-ranges") == "bytes"));
    CHECK(got.field("access-control-allow-origin") == "*");
    CHECK((got.count("content-encoding") == 0 && got.count("etag") == 0 && got.count("last-modified") == 0));
    CHECK((got.count("cache-control") == 0 && got.field("content-type") == "text/plain; charset=utf-8"));
    CHECK(peer.ask(get("/a.txt")).field("content-encoding") == "x-own");
  });
}

TEST_CASE("a handler sends a file of its choice") {
  const folder documents;
  documents.file("report.csv", "a,b\n");
  documents.file("sorry.html", "<sorry>");
  documents.link("link", documents.path("report.csv"));
  run_virtually([&documents] {
    http::router routes;
    routes.get("/report", [&documents](http::request&, http::response& answer) {
      (void)answer.header("Content-Disposition", "attachment").send_file(documents.path("report.csv"));
    });
    routes.get("/link", [&documents](http::request&, http::response& answer) {
      (void)answer.send_file(documents.path("link"), {.cache_control = "no-store"});
    });
    routes.get("/own", [&documents](http::request&, http::response& answer) {
      answer.header("ETag", "W/\"7\"").header("Content-Type", "x/own");
      (void)answer.send_file(plain_open(documents.path("report.csv").c_str(), O_RDONLY), "of no matter");
    });
    routes.get("/sorry", [&documents](http::request&, http::response& answer) {
      answer.status(404);
      (void)answer.send_file(documents.path("sorry.html"));
    });
    routes.post("/posted", [&documents](http::request&, http::response& answer) {
      (void)answer.send_file(documents.path("report.csv"));
    });
    routes.get("/missing", [&documents](http::request&, http::response& answer) {
      answer.header("X-Said", "before");
      (void)answer.send_file(documents.path("missing"));
    });
    routes.get("/folder",
               [&documents](http::request&, http::response& answer) { (void)answer.send_file(documents.path()); });
    routes.get("/twice", [&documents](http::request&, http::response& answer) {
      CHECK(answer.send_file(documents.path("report.csv")));
      CHECK(answer.send_file(documents.path("report.csv")).error() == http::errc::answered);
      CHECK(answer.write("more").error() == http::errc::wrong_length);
    });
    const http::server server(std::move(routes));
    served peer(server);
    const answer report = peer.ask(get("/report"));
    CHECK((report.body == "a,b\n" && report.field("content-type") == "text/csv; charset=utf-8"));
    CHECK(report.field("content-disposition") == "attachment");
    CHECK(peer.ask(get("/report", "Range: bytes=0-0\r\n")).body == "a");
    CHECK(peer.ask(get("/link")).field("cache-control") == "no-store");
    const answer own = peer.ask(get("/own"));
    CHECK((own.body == "a,b\n" && own.field("content-type") == "x/own" && own.field("etag") == "W/\"7\""));
    CHECK((own.count("etag") == 1 && own.count("content-type") == 1));
    const answer known = peer.ask(get("/own", "If-None-Match: \"7\"\r\n"));
    CHECK((known.status == 304 && known.count("content-type") == 0));
    CHECK(peer.ask(get("/own", "If-Match: \"7\"\r\n")).status == 412);
    const answer parts = peer.ask(get("/own", "Range: bytes=0-0,-1\r\n"));
    CHECK((parts.status == 206 && parts.body == "a,b\n"));  // joined
    const answer sorry = peer.ask(get("/sorry", "Range: bytes=0-1\r\nIf-None-Match: *\r\n"));
    CHECK((sorry.status == 404 && sorry.body == "<sorry>"));
    CHECK(peer.ask(post("/posted", "", "If-None-Match: *\r\n")).body == "a,b\n");
    const answer missing = peer.ask(get("/missing"));
    CHECK((missing.status == 404 && missing.count("x-said") == 0));
    CHECK(peer.ask(get("/folder")).status == 404);
    CHECK(peer.ask(get("/twice")).body == "a,b\n");
    CHECK(peer.ends());
  });
}

TEST_CASE("small files are answered to pipelined requests together, with one system call each to read") {
  const folder documents;
  documents.file("a.txt", "text a");
  eventer::run([&documents] {
    const http::server server = serving(documents);
    auto acceptor = std::make_shared<eventer::tcp_acceptor>(eventer::tcp_acceptor::listen("127.0.0.1:0").value());
    auto serving = eventer::spawn([server, acceptor] { return server.serve(*acceptor).has_value(); });
    client peer(eventer::tcp_stream::connect(acceptor->local(), 100s).value());
    CHECK(peer.ask(get("/a.txt")).body == "text a");
    const faults world;
    std::string requests;
    for (int i = 0; i < 10; ++i) requests += get("/a.txt");
    REQUIRE(peer.send(requests));
    for (int i = 0; i < 10; ++i) CHECK(peer.read().body == "text a");
    for (const system_call each : {system_call::openat2, system_call::fstat, system_call::preadv2, system_call::close})
      CHECK(world.calls(each) == 10);
    CHECK(world.calls(system_call::send) + world.calls(system_call::sendmsg) <= 3);  // the client's, and one or two
    CHECK(world.calls(system_call::pread) == 0);
    peer.close();
    (void)server.drain(10s, 0s);
    CHECK(serving.join());
  });
}
