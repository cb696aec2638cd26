//! Learns a word from a folder of pictures and draws a prompt with it, in Rust:
//!
//!     learn PICTURES '<toy>' 'toy' 'a photo of <toy> in the snow' snow.png [MODEL [STEPS]]
//!
//! rustc --edition 2021 learn.rs -L LIBDIR
//!
//! `ffi` holds what the program needs of the header, and is what bindgen would write for all of
//! it. After it comes what Rust adds: handles that free themselves, a status that becomes a
//! Result, and a closure as callback.

#[allow(non_camel_case_types)]
mod ffi {
    use std::os::raw::{c_char, c_void};

    pub const FORMAT_AUTO: i32 = 4;

    pub enum textinv_session {}
    pub enum textinv_model {}
    pub enum textinv_embeddings {}
    pub enum textinv_images {}

    #[repr(C)]
    pub struct textinv_progress {
        pub struct_size: usize,
        pub phase: *const c_char,
        pub step: u32,
        pub steps: u32,
        pub loss: f32,
        pub loss_average: f32,
        pub learning_rate: f32,
        pub gradient_norm: f32,
        pub seconds: f64,
        pub eta: f64,
    }
    pub type textinv_progress_fn =
        Option<unsafe extern "C" fn(user: *mut c_void, progress: *const textinv_progress) -> i32>;

    // A struct may end before the header's does: the library completes it with its defaults.
    #[repr(C)]
    pub struct textinv_concept {
        pub struct_size: usize,
        pub placeholder: *const c_char,
        pub initializer: *const c_char,
        pub num_vectors: u32,
        pub property: i32,
        pub images_path: *const c_char,
        pub pictures: *const *const textinv_images,
        pub num_pictures: usize,
        pub captions: i32,
        pub prompts: *const *const c_char,
        pub num_prompts: usize,
    }

    #[repr(C)]
    pub struct textinv_invert_params {
        pub struct_size: usize,
        pub concepts: *const textinv_concept,
        pub num_concepts: usize,
        pub steps: u32,
        pub batch: u32,
        pub accumulate: u32,
        pub learning_rate: f32,
        pub scale_lr: i32,
        pub lr_schedule: i32,
        pub lr_warmup: u32,
        pub beta1: f32,
        pub beta2: f32,
        pub epsilon: f32,
        pub weight_decay: f32,
        pub resolution: u32,
        pub center_crop: i32,
        pub crop_scale: f32,
        pub flip: f32,
        pub seed: u64,
        pub output_dir: *const c_char,
        pub checkpoint_every: u32,
        pub checkpoint_keep: u32,
        pub resume: *const c_char,
        pub preview_prompt: *const c_char,
        pub preview_every: u32,
        pub preview_images: u32,
        pub preview_steps: u32,
        pub preview: *const c_void,
        pub preview_user: *mut c_void,
        pub progress: textinv_progress_fn,
        pub progress_user: *mut c_void,
    }

    #[repr(C)]
    pub struct textinv_generate_params {
        pub struct_size: usize,
        pub prompt: *const c_char,
        pub negative_prompt: *const c_char,
        pub images: u32,
        pub batch: u32,
        pub seed: u64,
        pub steps: u32,
        pub guidance_scale: f32,
        pub sampler: i32,
        pub width: u32,
        pub height: u32,
        pub rng: i32,
        pub init_image: *const textinv_images,
        pub strength: f32,
        pub clip_skip: u32,
        pub progress: textinv_progress_fn,
        pub progress_user: *mut c_void,
        pub guidance_rescale: f32,
        pub keep_pixels: i32,
        pub mask: *const textinv_images,
    }

    #[link(name = "textinv")]
    extern "C" {
        pub fn textinv_status_name(status: i32) -> *const c_char;
        pub fn textinv_session_new(out: *mut *mut textinv_session, params: *const c_void) -> i32;
        pub fn textinv_session_free(session: *mut textinv_session);
        pub fn textinv_session_error(session: *const textinv_session) -> *const c_char;
        pub fn textinv_model_open(
            out: *mut *mut textinv_model,
            session: *mut textinv_session,
            path: *const c_char,
        ) -> i32;
        pub fn textinv_model_free(model: *mut textinv_model);
        pub fn textinv_embeddings_new(
            out: *mut *mut textinv_embeddings,
            session: *mut textinv_session,
        ) -> i32;
        pub fn textinv_embeddings_free(embeddings: *mut textinv_embeddings);
        pub fn textinv_embeddings_save(
            session: *mut textinv_session,
            embeddings: *const textinv_embeddings,
            path: *const c_char,
            format: i32,
            word: *const c_char,
        ) -> i32;
        pub fn textinv_concept_init(params: *mut textinv_concept, size: usize) -> i32;
        pub fn textinv_invert_params_init(params: *mut textinv_invert_params, size: usize) -> i32;
        pub fn textinv_invert(
            session: *mut textinv_session,
            model: *const textinv_model,
            embeddings: *mut textinv_embeddings,
            params: *const textinv_invert_params,
            report: *mut c_void,
        ) -> i32;
        pub fn textinv_generate_params_init(
            params: *mut textinv_generate_params,
            size: usize,
        ) -> i32;
        pub fn textinv_generate(
            out: *mut *mut textinv_images,
            session: *mut textinv_session,
            model: *const textinv_model,
            embeddings: *const textinv_embeddings,
            params: *const textinv_generate_params,
        ) -> i32;
        pub fn textinv_images_save(
            session: *mut textinv_session,
            images: *const textinv_images,
            i: u32,
            path: *const c_char,
            parameters: *const c_char,
        ) -> i32;
        pub fn textinv_images_free(images: *mut textinv_images);
    }
}

use std::env;
use std::ffi::{CStr, CString};
use std::fmt;
use std::mem::size_of;
use std::os::raw::{c_int, c_void};
use std::os::unix::ffi::OsStringExt;
use std::process;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

/// A status below zero, and the session's message.
struct Error {
    status: i32,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = unsafe { CStr::from_ptr(ffi::textinv_status_name(self.status)) };
        write!(f, "{}: {}", name.to_string_lossy(), self.message)
    }
}

/// What a call makes, and the function that frees it.
struct Handle<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        unsafe { (self.free)(self.pointer) }
    }
}

struct Session(Handle<ffi::textinv_session>);

impl Session {
    fn new() -> Result<Session, Error> {
        let mut pointer = null_mut();
        let status = unsafe { ffi::textinv_session_new(&mut pointer, null()) };
        let session = Session(Handle {
            pointer,
            free: ffi::textinv_session_free,
        });
        session.check(status)?;
        Ok(session)
    }

    fn check(&self, status: i32) -> Result<(), Error> {
        if status >= 0 {
            return Ok(());
        }
        let message = unsafe { CStr::from_ptr(ffi::textinv_session_error(self.0.pointer)) };
        Err(Error {
            status,
            message: message.to_string_lossy().into_owned(),
        })
    }

    /// What a call returns through its first argument.
    fn make<T>(
        &self,
        free: unsafe extern "C" fn(*mut T),
        call: impl FnOnce(*mut *mut T) -> i32,
    ) -> Result<Handle<T>, Error> {
        let mut pointer = null_mut();
        self.check(call(&mut pointer))?;
        Ok(Handle { pointer, free })
    }
}

/// Options with their defaults.
fn defaults<T>(init: unsafe extern "C" fn(*mut T, usize) -> i32) -> T {
    let mut params = std::mem::MaybeUninit::<T>::uninit();
    unsafe {
        let status = init(params.as_mut_ptr(), size_of::<T>());
        assert!(status >= 0, "this struct is not the library's");
        params.assume_init()
    }
}

/// Is told what has been done, and returns false to stop. It must not panic.
type Progress<'a> = &'a dyn Fn(&ffi::textinv_progress) -> bool;

/// Calls the Progress that user points to.
unsafe extern "C" fn call_progress(user: *mut c_void, p: *const ffi::textinv_progress) -> i32 {
    let tell = &*(user as *const Progress);
    !tell(&*p) as i32
}

struct Job {
    pictures: CString,
    word: CString,
    initializer: CString,
    prompt: CString,
    out: CString,
    model: Option<CString>,
    steps: u32,
}

/// Learns, saves the word beside the picture as OUT.safetensors, and draws.
fn run(job: &Job, tell: Progress) -> Result<(), Error> {
    let session = Session::new()?;
    let s = session.0.pointer;
    let user = &tell as *const Progress as *mut c_void;
    let path = job.model.as_ref().map_or(null(), |m| m.as_ptr());
    let model = session.make(ffi::textinv_model_free, |out| unsafe {
        ffi::textinv_model_open(out, s, path)
    })?;
    let words = session.make(ffi::textinv_embeddings_free, |out| unsafe {
        ffi::textinv_embeddings_new(out, s)
    })?;

    let mut toy = defaults(ffi::textinv_concept_init);
    toy.images_path = job.pictures.as_ptr();
    toy.placeholder = job.word.as_ptr();
    toy.initializer = job.initializer.as_ptr();
    let mut learn = defaults(ffi::textinv_invert_params_init);
    learn.concepts = &toy;
    learn.num_concepts = 1;
    learn.steps = job.steps;
    learn.progress = Some(call_progress);
    learn.progress_user = user;
    session.check(unsafe {
        ffi::textinv_invert(s, model.pointer, words.pointer, &learn, null_mut())
    })?;
    let mut file = job.out.as_bytes().to_vec();
    file.extend_from_slice(b".safetensors");
    let file = CString::new(file).unwrap(); // neither part holds a zero
    session.check(unsafe {
        ffi::textinv_embeddings_save(s, words.pointer, file.as_ptr(), ffi::FORMAT_AUTO, null())
    })?;

    let mut draw = defaults(ffi::textinv_generate_params_init);
    draw.prompt = job.prompt.as_ptr();
    draw.seed = 42;
    draw.progress = Some(call_progress);
    draw.progress_user = user;
    let images = session.make(ffi::textinv_images_free, |out| unsafe {
        ffi::textinv_generate(out, s, model.pointer, words.pointer, &draw)
    })?;
    session
        .check(unsafe { ffi::textinv_images_save(s, images.pointer, 0, job.out.as_ptr(), null()) })
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
}
const SIGINT: c_int = 2;

extern "C" fn interrupt(_: c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
    unsafe { signal(SIGINT, 0) }; // the second Ctrl-C does not wait for a step
}

fn main() {
    // an argument holds no zero, and may be no UTF-8
    let args: Vec<_> = env::args_os()
        .skip(1)
        .map(|a| CString::new(a.into_vec()).unwrap())
        .collect();
    let steps = args.get(6).map_or(Ok(300), |a| a.to_string_lossy().parse());
    if args.len() < 5 || steps.is_err() {
        eprintln!("usage: learn PICTURES WORD INITIALIZER PROMPT OUT.png [MODEL [STEPS]]");
        process::exit(2);
    }
    let job = Job {
        pictures: args[0].clone(),
        word: args[1].clone(),
        initializer: args[2].clone(),
        prompt: args[3].clone(),
        out: args[4].clone(),
        model: args.get(5).cloned(),
        steps: steps.unwrap(),
    };

    unsafe { signal(SIGINT, interrupt as *const () as usize) };
    let tell = |p: &ffi::textinv_progress| {
        if p.step % 50 == 0 || p.step == p.steps {
            let phase = unsafe { CStr::from_ptr(p.phase) }.to_string_lossy();
            eprintln!(
                "{}: step {} of {}, {:.0} s to go",
                phase, p.step, p.steps, p.eta
            );
        }
        !INTERRUPTED.load(Ordering::Relaxed)
    };
    if let Err(e) = run(&job, &tell) {
        eprintln!("learn: {}", e);
        process::exit(1);
    }
}
