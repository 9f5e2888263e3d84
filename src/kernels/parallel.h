// Work shared out over XLA's own threads.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace dither {

// Calls work(n) for n = 0 .. items - 1, on the caller's thread and on those of the pool. The caller
// takes items like the others, so that it never waits for a thread that has not begun.
template <typename Work>
void parallel(xla::ffi::ThreadPool& pool, int64_t items, const Work& work) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
  };
  int64_t threads = std::min<int64_t>(pool.num_threads(), items);
  if (threads <= 1) {
    for (int64_t n = 0; n < items; n++) work(n);
    return;
  }
  auto shared = std::make_shared<Shared>();
  auto take = [shared, items, &work]() {
    for (int64_t n; (n = shared->next.fetch_add(1)) < items;) {
      work(n);
      shared->done.fetch_add(1, std::memory_order_release);
    }
  };
  for (int64_t t = 1; t < threads; t++) pool.Schedule([take] { take(); });
  take();
  while (shared->done.load(std::memory_order_acquire) < items) std::this_thread::yield();
}

}  // namespace dither
