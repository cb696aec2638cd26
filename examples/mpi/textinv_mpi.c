/*
 * Learns new words in several processes, on one machine or on many. One word, learnt by all of them
 * together, or a list of words, each learnt by one process:
 *
 *   mpirun -n 4 textinv-mpi [OPTIONS] PICTURES WORD INITIALIZER OUT
 *   mpirun -n 4 textinv-mpi [OPTIONS] --list FILE
 *
 * Together, N processes with --batch B learn what one with batch N B learns. FILE has a line for
 * each word, PICTURES, WORD, INITIALIZER and OUT with tabs between them; what is there already is
 * left out, so that the same command goes on where it was stopped.
 *
 *   --model DIR
 *   --steps N           300
 *   --batch B           4
 *   --threads N         those that the process may use
 *   --cuda
 *   --checkpoints DIR   one word: go on from the newest one there, and write one every 100 steps
 *
 * SIGTERM stops a process after its step; of one word all of them, with a checkpoint.
 *
 * mpicc textinv_mpi.c $(pkg-config --cflags --libs textinv) -o textinv-mpi
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mpi.h>
#include <textinv/textinv.h>

typedef struct options {
  const char *model, *list, *checkpoints;
  uint32_t steps, batch, threads;
  int cuda;
} options;

typedef struct job {
  const char *pictures, *word, *initializer, *out;
} job;

static int rank, ranks;
static int met_others; /* in a sum */
static textinv_session *session;

static void stop(int number)
{
  (void)number;
  textinv_session_cancel(session);
}

/* a failure of MPI ends all processes, as long as nobody asks it for something else */
static int32_t all_reduce(void *user, float *values, size_t count)
{
  (void)user;
  met_others = 1;
  return MPI_Allreduce(MPI_IN_PLACE, values, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static int32_t show(void *user, const textinv_progress *p)
{
  if (p->step % 50 == 0 || p->step == p->steps)
    fprintf(stderr, "%s: %s, step %u of %u, loss %.4f, %.0f s to go\n", (const char *)user,
            p->phase, p->step, p->steps, (double)p->loss_average, p->eta);
  return 0;
}

static textinv_status complain(const char *what, textinv_status status)
{
  fprintf(stderr, "rank %d: %s: %s: %s\n", rank, what, textinv_status_name(status),
          textinv_session_error(session));
  return status;
}

/* a GPU for each process of a machine, in turn */
static int32_t choose_device(void)
{
  uint32_t count;
  MPI_Comm machine;
  int local;

  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &machine);
  MPI_Comm_rank(machine, &local);
  MPI_Comm_free(&machine);
  return textinv_device_count(&count, TEXTINV_BACKEND_CUDA, NULL) < 0 ? 0 : local % (int32_t)count;
}

static textinv_status open_session(const options *o)
{
  textinv_session_params p;

  textinv_session_params_init(&p, sizeof(p));
  p.threads = o->threads;
  if (o->cuda) {
    p.backend = TEXTINV_BACKEND_CUDA;
    p.dtype = TEXTINV_BF16;
    p.device = choose_device();
  }
  return textinv_session_new(&session, &p);
}

/* parallel: with the others, or NULL */
static textinv_status learn(const textinv_model *model, const options *o, const job *j,
                            const textinv_parallel *parallel)
{
  textinv_embeddings *words;
  textinv_concept concept;
  textinv_invert_params p;
  textinv_status status;

  textinv_concept_init(&concept, sizeof(concept));
  concept.images_path = j->pictures;
  concept.placeholder = j->word;
  concept.initializer = j->initializer;
  textinv_invert_params_init(&p, sizeof(p));
  p.concepts = &concept;
  p.num_concepts = 1;
  p.steps = o->steps;
  p.batch = o->batch;
  p.parallel = parallel;
  if (parallel && o->checkpoints) {
    p.output_dir = o->checkpoints;
    p.checkpoint_every = 100;
    p.resume = "latest";
  }
  if (!parallel || rank == 0) {
    p.progress = show;
    p.progress_user = (void *)j->word;
  }
  if ((status = textinv_embeddings_new(&words, session)) >= 0 &&
      (status = textinv_invert(session, model, words, &p, NULL)) >= 0 && (!parallel || rank == 0))
    status = textinv_embeddings_save(session, words, j->out, TEXTINV_FORMAT_AUTO, NULL);
  textinv_embeddings_free(words);
  return status < 0 ? complain(j->word, status) : status;
}

static textinv_status learn_together(const textinv_model *model, const options *o, const job *j)
{
  textinv_parallel parallel;
  textinv_status status;

  textinv_parallel_init(&parallel, sizeof(parallel));
  parallel.rank = (uint32_t)rank;
  parallel.ranks = (uint32_t)ranks;
  parallel.all_reduce = all_reduce;
  status = learn(model, o, j, &parallel);
  if (status < 0 && !met_others)
    MPI_Abort(MPI_COMM_WORLD, 1); /* as without memory: the others do not know, and would wait */
  return status;
}

/* line i is the business of process i modulo ranks; a word that fails does not stop the others */
static int learn_list(const textinv_model *model, const options *o)
{
  FILE *f = fopen(o->list, "r");
  char *line = NULL;
  size_t room = 0;
  int failed = 0;

  if (!f) {
    perror(o->list);
    return 1;
  }
  for (int i = 0; getline(&line, &room, f) >= 0; i++) {
    char *rest = line;
    job j;

    line[strcspn(line, "\r\n")] = '\0';
    j.pictures = strsep(&rest, "\t");
    j.word = strsep(&rest, "\t");
    j.initializer = strsep(&rest, "\t");
    j.out = strsep(&rest, "\t");
    if (i % ranks != rank || !*line)
      continue;
    if (!j.out || rest) {
      fprintf(stderr, "%s, line %d: PICTURES, WORD, INITIALIZER and OUT are expected\n", o->list,
              i + 1);
      failed = 1;
    } else if (access(j.out, F_OK)) {
      const textinv_status status = learn(model, o, &j, NULL);

      failed |= status < 0;
      if (status == TEXTINV_E_CANCELLED)
        break;
    }
  }
  free(line);
  fclose(f);
  return failed;
}

/* 0 when text is a number */
static int read_number(uint32_t *out, const char *text)
{
  char *end;
  const unsigned long n = strtoul(text, &end, 10);

  *out = (uint32_t)n;
  return *text < '0' || *text > '9' || *end || n > UINT32_MAX;
}

/* 0 when the arguments make sense */
static int read_options(options *o, job *j, int argc, char **argv)
{
  static const struct option known[] = { { "model", required_argument, NULL, 'm' },
                                         { "list", required_argument, NULL, 'l' },
                                         { "checkpoints", required_argument, NULL, 'c' },
                                         { "steps", required_argument, NULL, 's' },
                                         { "batch", required_argument, NULL, 'b' },
                                         { "threads", required_argument, NULL, 't' },
                                         { "cuda", no_argument, NULL, 'g' },
                                         { NULL, 0, NULL, 0 } };
  int met, wrong = 0;

  opterr = rank == 0; /* once is enough */
  while ((met = getopt_long(argc, argv, "", known, NULL)) >= 0) {
    switch (met) {
    case 'm': o->model = optarg; break;
    case 'l': o->list = optarg; break;
    case 'c': o->checkpoints = optarg; break;
    case 's': wrong |= read_number(&o->steps, optarg); break;
    case 'b': wrong |= read_number(&o->batch, optarg); break;
    case 't': wrong |= read_number(&o->threads, optarg); break;
    case 'g': o->cuda = 1; break;
    default: return 1;
    }
  }
  if (o->list)
    return wrong || o->checkpoints || argc != optind;
  if (wrong || argc - optind != 4)
    return 1;
  *j = (job){ argv[optind], argv[optind + 1], argv[optind + 2], argv[optind + 3] };
  return 0;
}

int main(int argc, char **argv)
{
  options o = { .steps = 300, .batch = 4 };
  textinv_model *model = NULL;
  textinv_status status;
  job j;
  int provided, failed;

  /* the library has threads of its own, but calls back on ours */
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (read_options(&o, &j, argc, argv)) {
    if (rank == 0)
      fprintf(stderr, "usage: %s [OPTIONS] PICTURES WORD INITIALIZER OUT, or --list FILE\n",
              argv[0]);
    MPI_Finalize();
    return 2;
  }
  if ((status = open_session(&o)) < 0 ||
      (status = textinv_model_open(&model, session, o.model)) < 0) {
    complain(o.model ? o.model : "the default model", status);
    MPI_Abort(MPI_COMM_WORLD, 1); /* the others would wait */
  }
  signal(SIGTERM, stop);
  failed = o.list ? learn_list(model, &o) : learn_together(model, &o, &j) < 0;
  MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  textinv_model_free(model);
  textinv_session_free(session);
  MPI_Finalize();
  return failed;
}
