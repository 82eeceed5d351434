// How files are sent: by router::files, and by handlers that choose them (response::send_file).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventer/event/job_queue.hpp"
#include "eventer/http/media_types.hpp"

namespace eventer::inline EVENTER_ABI::http {

// Use designated initialisers; members are only ever appended.
struct file_options {
  // Of router::files: what is sent for a directory, the first that is there. None: 404.
  std::vector<std::string> index = {"index.html"};
  // Of router::files: whether names that begin with a dot are served; 404 otherwise.
  bool hidden = false;
  // The value of that field, such as "public, max-age=3600"; empty: it is not sent.
  std::string cache_control = {};
  // Extensions, without the dot and in lower case, and the types they stand for; before those of media_type_of().
  std::vector<std::pair<std::string, std::string>> types = {};
  // Of one request, those included that touch; whoever asks for more gets the whole file. 0: no ranges are served.
  std::size_t max_ranges = 16;
  // Where files are opened and read that the kernel has not in memory; job_queue::files() otherwise.
  std::optional<job_queue> queue = {};

  // For the library.
  const job_queue& jobs() const { return queue ? *queue : job_queue::files(); }
  std::string_view type_of(std::string_view path) const noexcept {
    const std::string_view extension = detail::extension_of(path);
    for (const auto& [known, type] : types)
      if (detail::equals_any_case(known, extension) && !extension.empty()) return type;
    return media_type_of(path);
  }
};

}  // namespace eventer::inline EVENTER_ABI::http
