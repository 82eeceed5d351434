// rest_files: what mtev_rest_simple_file_handler sends: a regular file beneath a folder. Opening and reading are jobs,
// as a disk may take its time; one piece of the file is in memory at a time.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/compat/detail/http_session.hpp"
#include "eventer/http/media_types.hpp"
#include "eventer/http/open_beneath.hpp"
#include "eventer/http/served_file.hpp"

namespace eventer::inline EVENTER_ABI::compat {

// Where it is looked for, and what was found. On the heap, where the job reaches it.
struct wanted_file {
  std::string root, path, index;
  std::shared_ptr<http::detail::served_file> file{};

  // Blocks. 0, or the errno.
  int open() {
    const unique_fd folder = http::detail::open_root(root);
    const int error = folder ? open_beneath(folder.get()) : errno;
    if (error != EISDIR) return error;
    path += '/' + index;
    return open_beneath(folder.get());
  }

 private:
  int open_beneath(int folder) {
    file = std::make_shared<http::detail::served_file>(http::detail::open_beneath(folder, path));
    return file->fd() >= 0 ? file->examine() : errno;
  }
};

inline const char* config_text(mtev_hash_table* config, const std::string& key, const char* otherwise) {
  const char* found = nullptr;
  if (config != nullptr) (void)mtev_hash_retr_str(config, key.c_str(), static_cast<int>(key.size()), &found);
  return found != nullptr ? found : otherwise;
}

// By the end of its name; the listener's config may say mime_type_<end>.
inline std::string type_of_file(const std::string& path, mtev_hash_table* config) {
  std::string end(http::detail::extension_of(path));
  for (char& each : end) each = http::detail::lower_case(each);
  const std::string usual(http::media_type_of(path));
  return end.empty() ? usual : config_text(config, "mime_type_" + end, usual.c_str());
}

// Answers with a file. Waits. Errors: `cancelled`, http::error where there is none.
inline void send_file(mtev_http_session_ctx& session, const std::string& path) {
  mtev_hash_table* const config = session.rest.ac->config;
  const char* const root = config_text(config, "document_root", nullptr);
  if (root == nullptr) {
    mtevL(mtev_error, "mtev_rest_simple_file_handler: the listener's config has no document_root\n");
    throw http::error(404, "404 Not Found\n");
  }
  const auto wanted = std::make_shared<wanted_file>(
      wanted_file{.root = root, .path = path, .index = config_text(config, "index_file", "index.html")});
  const job_queue& jobs = job_queue::files();
  if (http::detail::run_as_job(jobs, [wanted] { return wanted->open(); }) != 0)
    throw http::error(404, "404 Not Found\n");
  http::detail::served_file& file = *wanted->file;
  collected_answer& answer = session.answer;
  if (!answer.has_said_anything()) (void)answer.set_status(200, {});
  (void)answer.set_field("Content-Type", type_of_file(wanted->path, config));
  (void)answer.set_field("Content-Length", std::to_string(file.size()));
  const bool is_head = std::string_view(session.received.method()) == "HEAD";
  for (std::uint64_t offset = 0; offset < file.size() && !is_head;) {
    const std::string piece(  // sending it may wait
        file.read(offset, static_cast<std::size_t>(std::min<std::uint64_t>(file.size() - offset, file.piece_bytes)),
                  jobs));
    // It can't be read, or has become shorter: 500, or where its head has gone the connection is cut.
    if (piece.empty()) throw http::error(500, "500 Internal Server Error\n");
    if (!answer.append(piece)) break;
    offset += piece.size();
    answer.send_due();
  }
}

}  // namespace eventer::inline EVENTER_ABI::compat
