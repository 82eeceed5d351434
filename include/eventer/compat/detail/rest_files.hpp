// rest_files: what mtev_rest_simple_file_handler sends: a regular file beneath a folder. Opening and reading are jobs,
// as a disk may take its time; one piece of the file is in memory at a time.
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/base/unique_fd.hpp"
#include "eventer/compat/detail/http_session.hpp"
#include "eventer/event/job_queue.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// Opens `path` beneath `root`, wherever its ".." and its links would lead. Without openat2 (Linux 5.6), or where a
// sandbox forbids it, no links are followed. No file: errno says why.
inline unique_fd open_beneath(const std::string& root, std::string path, bool may_use_openat2 = true) {
  constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;  // a FIFO must not block
  path.erase(0, path.find_first_not_of('/'));
  if (path.empty()) path = ".";
  unique_fd at(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return at;
  if (may_use_openat2) {
    open_how how{};
    how.flags = flags;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    const long opened = ::syscall(SYS_openat2, at.get(), path.c_str(), &how, sizeof how);
    if (opened >= 0 || (errno != ENOSYS && errno != EPERM)) return unique_fd(static_cast<int>(opened));
  }
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t slash = path.find('/', begin);
    const std::string part = path.substr(begin, slash - begin);
    begin = slash == std::string::npos ? path.size() : slash + 1;
    if (part.empty()) continue;
    if (part == "..") {
      errno = EXDEV;
      return unique_fd();
    }
    const bool is_last = path.find_first_not_of('/', begin) == std::string::npos;
    unique_fd next(::openat(at.get(), part.c_str(), O_NOFOLLOW | O_CLOEXEC | (is_last ? flags : O_PATH | O_DIRECTORY)));
    if (!next) return next;
    at = std::move(next);
  }
  return at;
}

// What is open, and the piece that was read last. On the heap, where the jobs reach it.
struct served_file {
  static constexpr std::size_t piece_bytes = std::size_t{64} << 10;

  std::string root, path, index;
  unique_fd file{};
  std::uint64_t size = 0;
  std::unique_ptr<char[]> piece = std::make_unique<char[]>(piece_bytes);

  // Blocks. False: there is nothing to be sent.
  bool open() {
    struct stat status {};
    file = open_beneath(root, path);
    if (file && ::fstat(file.get(), &status) == 0 && S_ISDIR(status.st_mode)) {
      path += '/' + index;
      file = open_beneath(root, path);
    }
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
    size = static_cast<std::uint64_t>(status.st_size);
    return true;
  }
  // Blocks. 0: nothing more can be read.
  std::size_t read(std::uint64_t offset) {
    ssize_t got;
    do got = ::pread(file.get(), piece.get(), piece_bytes, static_cast<off_t>(offset));
    while (got < 0 && errno == EINTR);
    return got < 0 ? 0 : static_cast<std::size_t>(got);
  }
};

inline const char* config_text(mtev_hash_table* config, const std::string& key, const char* otherwise) {
  const char* found = nullptr;
  if (config != nullptr) (void)mtev_hash_retr_str(config, key.c_str(), static_cast<int>(key.size()), &found);
  return found != nullptr ? found : otherwise;
}

// By the end of its name; the listener's config may say mime_type_<end>.
inline std::string type_of_file(const std::string& path, mtev_hash_table* config) {
  static constexpr std::pair<const char*, const char*> known[] = {{"html", "text/html; charset=utf-8"},
                                                                  {"htm", "text/html; charset=utf-8"},
                                                                  {"txt", "text/plain; charset=utf-8"},
                                                                  {"css", "text/css; charset=utf-8"},
                                                                  {"js", "text/javascript"},
                                                                  {"mjs", "text/javascript"},
                                                                  {"json", "application/json"},
                                                                  {"xml", "application/xml"},
                                                                  {"svg", "image/svg+xml"},
                                                                  {"png", "image/png"},
                                                                  {"jpg", "image/jpeg"},
                                                                  {"jpeg", "image/jpeg"},
                                                                  {"gif", "image/gif"},
                                                                  {"webp", "image/webp"},
                                                                  {"ico", "image/x-icon"},
                                                                  {"pdf", "application/pdf"},
                                                                  {"woff2", "font/woff2"},
                                                                  {"wasm", "application/wasm"}};
  const std::size_t dot = path.rfind('.'), slash = path.rfind('/');
  std::string end;
  if (dot != std::string::npos && (slash == std::string::npos || dot > slash)) end = path.substr(dot + 1);
  for (char& each : end) each = http::detail::lower_case(each);
  const char* otherwise = "application/octet-stream";
  for (const auto& [name, type] : known)
    if (end == name) otherwise = type;
  return end.empty() ? otherwise : config_text(config, "mime_type_" + end, otherwise);
}

// Answers with a file. Waits. Errors: `cancelled`, http::error where there is none.
inline void send_file(mtev_http_session_ctx& session, const std::string& path) {
  mtev_hash_table* const config = session.rest.ac->config;
  const char* const root = config_text(config, "document_root", nullptr);
  if (root == nullptr) {
    mtevL(mtev_error, "mtev_rest_simple_file_handler: the listener's config has no document_root\n");
    throw http::error(404, "404 Not Found\n");
  }
  const auto file = std::make_shared<served_file>(
      served_file{.root = root, .path = path, .index = config_text(config, "index_file", "index.html")});
  if (!job_queue::files().run([file] { return file->open(); })) throw http::error(404, "404 Not Found\n");
  collected_answer& answer = session.answer;
  if (!answer.has_said_anything()) (void)answer.set_status(200, {});
  (void)answer.set_field("Content-Type", type_of_file(file->path, config));
  (void)answer.set_field("Content-Length", std::to_string(file->size));
  const bool is_head = std::string_view(session.received.method()) == "HEAD";
  for (std::uint64_t offset = 0; offset < file->size && !is_head;) {
    std::size_t got = job_queue::files().run([file, offset] { return file->read(offset); });
    got = static_cast<std::size_t>(std::min<std::uint64_t>(got, file->size - offset));
    // It can't be read, or has become shorter: 500, or where its head has gone the connection is cut.
    if (got == 0) throw http::error(500, "500 Internal Server Error\n");
    if (!answer.append({file->piece.get(), got})) break;
    offset += got;
    answer.send_due();
  }
}

}  // namespace eventer::inline EVENTER_ABI::compat
