/*
 * One run in several processes: what they tell each other, through the host's sums.
 *
 * A sum to which all but one process give 0 is exact, and tells all what the one has to say. So
 * each has a place of its own in what is added up, for its status and, at the beginning, for what
 * it is about to do. All processes make the same calls of all_reduce: one before the first step,
 * whatever became of it; one with the rows; one a step; and one behind the last.
 */
#include <string.h>

#include "alloc.h"
#include "hash.h"
#include "run.h"

enum { MAX_RANKS = 1024, HASH_PARTS = 4 };

/* of one process, before the first step; all are numbers that a float holds exactly */
struct ti_place {
  float here; /* 1 */
  float status;
  float hash[HASH_PARTS];   /* 16 bits each, of what all must have alike */
  float step, loss_average; /* to begin with */
};

enum { PLACE = sizeof(ti_place) / sizeof(float) };

static const textinv_parallel parallel_defaults = { .struct_size = sizeof(textinv_parallel),
                                                    .ranks = 1 };
static const size_t PARALLEL_MIN = sizeof(textinv_parallel);

textinv_status textinv_parallel_init(textinv_parallel *params, size_t size)
{
  return ti_params_init(params, size, &parallel_defaults, sizeof(parallel_defaults), PARALLEL_MIN);
}

textinv_status ti_run_join(ti_run *r)
{
  ti_error *error = &r->s->error;
  textinv_parallel p = parallel_defaults;
  textinv_status status;

  r->group = p;
  if (!r->p.parallel)
    return TEXTINV_OK;
  if ((status = ti_params_read(error, &p, sizeof(p), PARALLEL_MIN, r->p.parallel, "parallel")) < 0)
    return status;
  if (!p.all_reduce)
    return ti_fail(error, TEXTINV_E_INVALID, "parallel.all_reduce is NULL");
  if (p.ranks < 1 || p.ranks > MAX_RANKS || p.rank >= p.ranks)
    return ti_fail(error, TEXTINV_E_INVALID,
                   "parallel.rank is %u of %u ranks; 1 to %d ranks are possible, counted from 0",
                   p.rank, p.ranks, MAX_RANKS);
  r->places = ti_calloc(p.ranks, sizeof(ti_place));
  if (!r->places)
    return ti_fail_nomem(error, p.ranks * sizeof(ti_place), "processes");
  r->group = p;
  return TEXTINV_OK;
}

textinv_status ti_run_sum(ti_run *r, textinv_status mine, float *values, size_t count)
{
  const int32_t result = r->group.all_reduce(r->group.user, values, count);

  if (mine < 0 || !result)
    return mine;
  return ti_fail(&r->s->error, TEXTINV_E_BACKEND,
                 "parallel.all_reduce of rank %u returned %d at step %u of %u", r->group.rank,
                 (int)result, r->step, r->p.steps);
}

/* the status of rank i, as the sum has it, if it is a failure */
static textinv_status check_status(ti_run *r, uint32_t i, float status)
{
  const textinv_status met = status > -100.0f && status < 0.0f ? (textinv_status)status
                                                               : TEXTINV_E_BACKEND;

  return status == 0.0f ? TEXTINV_OK
                        : ti_fail(&r->s->error, met, "rank %u of %u stopped at step %u of %u: %s",
                                  i, r->group.ranks, r->step, r->p.steps, textinv_status_name(met));
}

/* what decides about the steps, and how many there are */
static uint64_t hash_of(const ti_run *r)
{
  const ti_adamw *a = &r->adamw;
  uint64_t hash = ti_hash(TI_HASH_START, r->settings, strlen(r->settings));

  hash = ti_hash(hash, &r->p.steps, sizeof(r->p.steps));
  hash = ti_hash(hash, &r->num_values, sizeof(r->num_values));
  hash = ti_hash(hash, &a->beta1, sizeof(a->beta1));
  hash = ti_hash(hash, &a->beta2, sizeof(a->beta2));
  return ti_hash(hash, &a->epsilon, sizeof(a->epsilon));
}

textinv_status ti_run_agree(ti_run *r, textinv_status mine)
{
  ti_error *error = &r->s->error;
  const uint32_t ranks = r->group.ranks;
  ti_place *places = r->places, *own;
  textinv_status status;

  if (!places)
    return mine;
  own = &places[r->group.rank];
  own->here = 1.0f;
  own->status = (float)mine;
  if (mine >= 0) {
    const uint64_t hash = hash_of(r);

    for (int k = 0; k < HASH_PARTS; k++)
      own->hash[k] = (float)(hash >> 16 * k & 0xffff);
    own->step = (float)r->step;
    own->loss_average = r->loss_average;
  }
  if ((status = ti_run_sum(r, mine, (float *)places, ranks * PLACE)) < 0)
    return status;
  for (uint32_t i = 0; i < ranks; i++) {
    if (places[i].here != 1.0f)
      return ti_fail(
        error, TEXTINV_E_INVALID,
        "parallel.all_reduce gave %g for rank %u of %u where the sum is 1: it must add "
        "up what %u processes have, each with a rank of its own",
        (double)places[i].here, i, ranks, ranks);
  }
  for (uint32_t i = 0; i < ranks && status >= 0; i++)
    status = check_status(r, i, places[i].status);
  for (uint32_t i = 1; i < ranks && status >= 0; i++) {
    if (memcmp(places[i].hash, places[0].hash, sizeof(places[i].hash)))
      status = ti_fail(error, TEXTINV_E_CONFLICT,
                       "rank %u has another model, other options, pictures or words than rank 0",
                       i);
  }
  if (status >= 0) {
    r->step = (uint32_t)places[0].step;
    r->loss_average = places[0].loss_average;
  }
  return status;
}

textinv_status ti_run_meet(ti_run *r, textinv_status mine)
{
  float *statuses = r->gradient + r->num_values + 1;
  const size_t count = r->num_values + 1 + r->group.ranks;
  textinv_status status;

  if (!r->places)
    return mine;
  memset(statuses, 0, r->group.ranks * sizeof(*statuses));
  statuses[r->group.rank] = (float)mine;
  if ((status = ti_run_sum(r, mine, r->gradient, count)) < 0)
    return status;
  for (uint32_t i = 0; i < r->group.ranks && status >= 0; i++)
    status = check_status(r, i, statuses[i]);
  return status;
}
