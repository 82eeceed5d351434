// files: what router::files calls: a directory, of which what a path names is sent.
//
// The directory is opened once. What must not be broken: nothing outside of it is opened, whatever a path says.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "eventer/http/file_answer.hpp"
#include "eventer/http/percent.hpp"
#include "eventer/http/request.hpp"

namespace eventer::inline EVENTER_ABI::http::detail {

// To the same with a slash behind it, so that links in its index lead beneath it. Relative, and as the client has
// written it: whatever host and prefix it has used stay as they are, and no path can name another host or scheme.
inline void redirect_to_folder(request& asked, response& answer) {
  const std::string_view target = asked.target(), path = target.substr(0, target.find('?'));
  std::string to = "./";
  to.append(path.substr(path.rfind('/') + 1)).append(1, '/').append(target.substr(path.size()));
  answer.redirect(to, 301);
  answer.text("301 Moved Permanently\n");
}

class file_handler {
 public:
  // Errors: std::invalid_argument with a sentence where the directory can't be opened, or a field of the options has a
  // control character. `rule` begins the first.
  file_handler(const std::string& rule, const std::string& directory, file_options&& with)
      : from_(std::make_shared<const place>(open_root(directory), std::move(with))) {
    const int error = errno;
    if (!from_->root)
      refuse_argument(rule + ": the directory " + eventer::detail::quoted(directory) +
                      " can't be opened: " + error_from_errno(error).message());
    fields::check("Cache-Control", from_->options.cache_control);
    for (const auto& each : from_->options.types) fields::check("Content-Type", each.second);
  }

  void operator()(request& asked, response& answer) const {
    const std::string path = path_of(asked.capture(1));
    if (path.empty() && !asked.path().ends_with('/')) return redirect_to_folder(asked, answer);  // the mount itself
    if (path.empty() || path.ends_with('/')) return send_index(path, answer);
    std::shared_ptr<served_file> file;
    const int error = find(path, file);
    if (error == EISDIR) return redirect_to_folder(asked, answer);
    if (error != 0) refuse_file(error, path);
    (void)answer.send_examined(file, path, from_->options);
  }

 private:
  struct place {
    place(unique_fd r, file_options&& o) noexcept : root(std::move(r)), options(std::move(o)) {}
    unique_fd root;
    file_options options;
  };

  // What the rest of the request's path names. Two paths never name one file.
  std::string path_of(std::string_view rest) const {
    std::string result;
    for (std::size_t begin = 0; begin < rest.size();) {
      const std::size_t end = std::min(rest.find('/', begin), rest.size());
      const std::string_view segment = rest.substr(begin, end - begin);
      if (segment.empty() || segment.find("%2F") != std::string_view::npos) throw http::error(404);
      const auto name = percent_decode(segment);  // of the percent sign
      if (!name || *name == "." || *name == ".." || (name->front() == '.' && !from_->options.hidden))
        throw http::error(404);
      result.append(*name);
      if (end < rest.size()) result += '/';
      begin = end + 1;
    }
    return result;
  }
  // 0, or the errno: EISDIR for a directory. Waits where the kernel has to ask a disk.
  int find(const std::string& path, std::shared_ptr<served_file>& into) const {
    unique_fd file = open_beneath(from_->root.get(), path, lookup::in_cache);
    if (!file && errno != EAGAIN) return errno;
    if (!file) {
      const auto opened = std::make_shared<unique_fd>();
      const int error = run_as_job(from_->options.jobs(), [from = from_, path, opened] {
        *opened = open_beneath(from->root.get(), path);
        return *opened ? 0 : errno;
      });
      if (error != 0) return error;
      file = std::move(*opened);
    }
    into = std::make_shared<served_file>(std::move(file));
    return into->examine();
  }
  void send_index(const std::string& folder, response& answer) const {
    for (const std::string& each : from_->options.index) {
      const std::string path = folder + each;
      std::shared_ptr<served_file> file;
      const int error = find(path, file);
      if (error == 0) return (void)answer.send_examined(file, path, from_->options);
      if (error != ENOENT && error != EISDIR) refuse_file(error, path);
    }
    throw http::error(404);
  }
  std::shared_ptr<const place> from_;
};

}  // namespace eventer::inline EVENTER_ABI::http::detail
