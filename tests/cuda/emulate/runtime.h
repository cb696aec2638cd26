/* What the emulated launches and the emulated CUDA runtime share. */
#ifndef TI_EMULATE_RUNTIME_H
#define TI_EMULATE_RUNTIME_H

#include <functional>

/* when stream is being captured: keep work for its graph and return true */
bool emulate_record(void *stream, const std::function<void()> &work);
/* what cudaGetLastError() will return */
void emulate_set_error(int code);

#endif /* TI_EMULATE_RUNTIME_H */
