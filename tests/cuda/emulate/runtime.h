/* What the emulated launches and the emulated CUDA runtime share. */
#ifndef TI_EMULATE_RUNTIME_H
#define TI_EMULATE_RUNTIME_H

#include <functional>

/* keep work for the stream, or for the graph that it captures; false when there is no stream */
bool emulate_record(void *stream, const std::function<void()> &work);
/* 10 x the device's capability: 90, or what the environment asks for */
int emulate_capability();
/* what cudaGetLastError() will return */
void emulate_set_error(int code);

#endif /* TI_EMULATE_RUNTIME_H */
