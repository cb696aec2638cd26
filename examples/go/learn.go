// Learns a word from a folder of pictures and draws a prompt with it, in Go:
//
//	learn PICTURES '<toy>' 'toy' 'a photo of <toy> in the snow' snow.png [MODEL [STEPS]]
//
// go build learn.go
//
// What a Go program adds to the C interface comes first: a status that becomes an error, and a
// function as callback. Ctrl-C stops it between two steps.
package main

/*
#cgo pkg-config: textinv
#include <stdint.h>
#include <stdlib.h>
#include <textinv/textinv.h>

int32_t learnProgress(uintptr_t user, textinv_progress *progress);

// a handle of Go's is a number, and user a pointer
static int32_t learn_progress(void *user, const textinv_progress *progress)
{
  return learnProgress((uintptr_t)user, (textinv_progress *)progress);
}

static void watch_invert(textinv_invert_params *params, uintptr_t user)
{
  params->progress = learn_progress;
  params->progress_user = (void *)user;
}

static void watch_generate(textinv_generate_params *params, uintptr_t user)
{
  params->progress = learn_progress;
  params->progress_user = (void *)user;
}
*/
import "C"

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/cgo"
	"strconv"
	"unsafe"
)

// Error is a status below zero, and the session's message.
type Error struct {
	Status  C.textinv_status
	Message string
}

func (e *Error) Error() string {
	return C.GoString(C.textinv_status_name(e.Status)) + ": " + e.Message
}

func check(session *C.textinv_session, status C.textinv_status) error {
	if status >= 0 {
		return nil
	}
	return &Error{status, C.GoString(C.textinv_session_error(session))}
}

// Progress is told what has been done, and returns an error to stop.
type Progress func(phase string, step, steps int, eta float64) error

//export learnProgress
func learnProgress(user C.uintptr_t, p *C.textinv_progress) C.int32_t {
	tell := cgo.Handle(user).Value().(Progress)
	if tell(C.GoString(p.phase), int(p.step), int(p.steps), float64(p.eta)) != nil {
		return 1
	}
	return 0
}

// Strings that C reads while a call runs. The structs that hold them are C's, too, for a Go
// struct may not be passed to C with pointers into Go.
type memory []unsafe.Pointer

func (m *memory) str(s string) *C.char {
	c := C.CString(s)
	*m = append(*m, unsafe.Pointer(c))
	return c
}

func (m *memory) alloc(size uintptr) unsafe.Pointer {
	p := C.calloc(1, C.size_t(size))
	*m = append(*m, p)
	return p
}

func (m memory) free() {
	for _, p := range m {
		C.free(p)
	}
}

type job struct {
	pictures, word, initializer, prompt, out, model string
	steps                                           uint32
}

// Learns, saves the word beside the picture as out.safetensors, and draws.
func run(j job, tell Progress) error {
	var m memory
	defer m.free()
	user := cgo.NewHandle(tell)
	defer user.Delete()

	var session *C.textinv_session
	runtime.LockOSThread() // without a session the message is the thread's
	err := check(nil, C.textinv_session_new(&session, nil))
	runtime.UnlockOSThread()
	if err != nil {
		return err
	}
	defer C.textinv_session_free(session)
	var path *C.char // NULL is the default model
	if j.model != "" {
		path = m.str(j.model)
	}
	var model *C.textinv_model
	if err := check(session, C.textinv_model_open(&model, session, path)); err != nil {
		return err
	}
	defer C.textinv_model_free(model)
	var words *C.textinv_embeddings
	if err := check(session, C.textinv_embeddings_new(&words, session)); err != nil {
		return err
	}
	defer C.textinv_embeddings_free(words)

	toy := (*C.textinv_concept)(m.alloc(C.sizeof_textinv_concept))
	C.textinv_concept_init(toy, C.sizeof_textinv_concept)
	toy.images_path = m.str(j.pictures)
	toy.placeholder = m.str(j.word)
	toy.initializer = m.str(j.initializer)

	learn := (*C.textinv_invert_params)(m.alloc(C.sizeof_textinv_invert_params))
	C.textinv_invert_params_init(learn, C.sizeof_textinv_invert_params)
	learn.concepts = toy
	learn.num_concepts = 1
	learn.steps = C.uint32_t(j.steps)
	C.watch_invert(learn, C.uintptr_t(user))
	if err := check(session, C.textinv_invert(session, model, words, learn, nil)); err != nil {
		return err
	}
	if err := check(session, C.textinv_embeddings_save(session, words, m.str(j.out+".safetensors"),
		C.TEXTINV_FORMAT_AUTO, nil)); err != nil {
		return err
	}

	draw := (*C.textinv_generate_params)(m.alloc(C.sizeof_textinv_generate_params))
	C.textinv_generate_params_init(draw, C.sizeof_textinv_generate_params)
	draw.prompt = m.str(j.prompt)
	draw.seed = 42
	C.watch_generate(draw, C.uintptr_t(user))
	var images *C.textinv_images
	if err := check(session, C.textinv_generate(&images, session, model, words, draw)); err != nil {
		return err
	}
	defer C.textinv_images_free(images)
	return check(session, C.textinv_images_save(session, images, 0, m.str(j.out), nil))
}

func main() {
	if len(os.Args) < 6 {
		fmt.Fprintf(os.Stderr, "usage: %s PICTURES WORD INITIALIZER PROMPT OUT.png [MODEL [STEPS]]\n", os.Args[0])
		os.Exit(2)
	}
	args := append(os.Args[1:], "", "")
	j := job{args[0], args[1], args[2], args[3], args[4], args[5], 300}
	if args[6] != "" {
		steps, err := strconv.ParseUint(args[6], 10, 32)
		if err != nil || steps < 1 {
			fmt.Fprintf(os.Stderr, "%s: STEPS is %q, expected a number above 0\n", os.Args[0], args[6])
			os.Exit(2)
		}
		j.steps = uint32(steps)
	}

	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(j, func(phase string, step, steps int, eta float64) error {
		if step%50 == 0 || step == steps {
			fmt.Fprintf(os.Stderr, "%s: step %d of %d, %.0f s to go\n", phase, step, steps, eta)
		}
		if interrupted.Err() != nil {
			stop() // the second Ctrl-C does not wait for a step
		}
		return interrupted.Err()
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[0], err)
		os.Exit(1)
	}
}
