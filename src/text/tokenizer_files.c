/*
 * A tokenizer's files, in the forms that transformers has written:
 *
 *   tokenizer.json             vocabulary, CLIP's merges (strings or pairs) and added tokens
 *   vocab.json, merges.txt     CLIP's older pair, read when there is no tokenizer.json; of its own
 *                              vocabulary merges.txt alone, as the rest follows
 *   vocab.txt                  BERT's vocabulary, read when there is none of these
 *   tokenizer_config.json      special tokens, model_max_length, added_tokens_decoder
 *   special_tokens_map.json    special tokens that go before those of the config
 *   added_tokens.json          further tokens with their ids
 *
 * The last two are not looked at when the config has an added_tokens_decoder, as in transformers.
 * Config and map may list more special tokens, as additional_special_tokens or, since transformers
 * 5, extra_special_tokens. How text is normalised and split is the class's matter whatever
 * tokenizer.json says of it, as there, too.
 */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "format.h"
#include "json.h"
#include "tokenizer_files.h"
#include "tokenizer_state.h"
#include "utf8.h"

enum { DEFAULT_LENGTH = 77 };

typedef struct added {
  char *text;
  uint32_t id;
  int normalized;
} added;

typedef struct reader {
  ti_tokenizer *t;
  ti_error *error;
  const char *pad;           /* of CLIP's own vocabulary; NULL = the files are a model's */
  ti_json main, config, map; /* main: tokenizer.json, vocab.json or vocab.txt */
  json_t *vocab;             /* borrowed from main */
  int modern;                /* main is tokenizer.json */
  added *added;
  size_t num_added, room;
  size_t num_listed; /* of them in tokenizer.json and in the decoder */
} reader;

/* FOLDER/NAME, opened; *there = 0 and no error when it does not exist */
static textinv_status open_json(ti_json *out, int *there, ti_error *error, const char *folder,
                                const char *name)
{
  const size_t size = strlen(folder) + strlen(name) + 2;
  char *path = ti_calloc(size, 1);
  ti_error quiet;
  textinv_status status;

  *there = 0;
  if (!path)
    return ti_fail_nomem(error, size, "a path");
  ti_format(path, size, "%s/%s", folder, name);
  status = ti_json_open(out, &quiet, path);
  ti_free(path);
  if (status == TEXTINV_E_NOT_FOUND)
    return TEXTINV_OK;
  *there = status == TEXTINV_OK;
  return status < 0 ? ti_fail(error, status, "%s", quiet.text) : status;
}

/* ------ vocabulary */

int ti_vocab_id(const json_t *vocab, const char *token, uint32_t *id)
{
  const json_t *v = json_object_get(vocab, token);

  if (!v)
    return 0;
  *id = (uint32_t)json_integer_value(v);
  return 1;
}

static textinv_status check_id(const reader *r, const char *path, const char *token,
                               const json_t *v)
{
  if (!json_is_integer(v) || json_integer_value(v) < 0)
    return ti_fail(r->error, TEXTINV_E_FORMAT,
                   "%s: the id of token \"%.*s\" is no whole number of 0 or more", path,
                   ti_utf8_cut(token, 60), token);
  if (json_integer_value(v) >= TI_TOKENIZER_MAX_IDS)
    return ti_fail(
      r->error, TEXTINV_E_LIMIT, "%s: the id of token \"%.*s\" is %lld, expected less than %d",
      path, ti_utf8_cut(token, 60), token, (long long)json_integer_value(v), TI_TOKENIZER_MAX_IDS);
  return TEXTINV_OK;
}

static textinv_status set_token(reader *r, const char *path, const char *token, uint32_t id)
{
  if (r->t->tokens[id])
    return ti_fail(
      r->error, TEXTINV_E_FORMAT, "%s: tokens \"%.*s\" and \"%.*s\" have the same id %u", path,
      ti_utf8_cut(r->t->tokens[id], 60), r->t->tokens[id], ti_utf8_cut(token, 60), token, id);
  r->t->tokens[id] = ti_strdup(token);
  return r->t->tokens[id] ? TEXTINV_OK : ti_fail_nomem(r->error, strlen(token), "a token");
}

static int by_token(const void *a, const void *b)
{
  return strcmp(((const ti_vocab_entry *)a)->token, ((const ti_vocab_entry *)b)->token);
}

static textinv_status read_vocab(reader *r)
{
  ti_tokenizer *t = r->t;
  textinv_status status;
  const char *token;
  json_t *v;
  int64_t most = -1;

  json_object_foreach(r->vocab, token, v)
  {
    if ((status = check_id(r, r->main.path, token, v)) < 0)
      return status;
    most = json_integer_value(v) > most ? json_integer_value(v) : most;
  }
  if (most < 0)
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: the vocabulary is empty", r->main.path);
  for (size_t i = 0; i < r->num_added; i++)
    most = r->added[i].id > most ? r->added[i].id : most;

  t->tokens = ti_calloc((size_t)most + 1, sizeof(*t->tokens));
  t->sorted = ti_calloc((size_t)most + 1, sizeof(*t->sorted));
  if (!t->tokens || !t->sorted)
    return ti_fail_nomem(r->error, ((size_t)most + 1) * sizeof(*t->sorted), "the vocabulary");
  t->size = (uint32_t)most + 1;

  json_object_foreach(
    r->vocab, token,
    v) if ((status = set_token(r, r->main.path, token, (uint32_t)json_integer_value(v))) <
           0) return status;
  for (size_t i = 0; i < r->num_added; i++) {
    const added *a = &r->added[i];
    uint32_t id;

    if (ti_vocab_id(r->vocab, a->text, &id)
          ? id != a->id
          : t->tokens[a->id] && strcmp(t->tokens[a->id], a->text) != 0)
      return ti_fail(r->error, TEXTINV_E_FORMAT,
                     "%s: added token \"%.*s\" has the id %u, which contradicts the vocabulary",
                     r->main.path, ti_utf8_cut(a->text, 60), a->text, a->id);
    if (!t->tokens[a->id] && (status = set_token(r, r->main.path, a->text, a->id)) < 0)
      return status;
  }
  for (uint32_t i = 0; i < t->size; i++) {
    if (t->tokens[i])
      t->sorted[t->num_sorted++] = (ti_vocab_entry){ t->tokens[i], i };
  }
  qsort(t->sorted, t->num_sorted, sizeof(*t->sorted), by_token);
  return TEXTINV_OK;
}

/* ------ added and special tokens */

static added *find_added(reader *r, const char *text)
{
  for (size_t i = 0; i < r->num_added; i++)
    if (strcmp(r->added[i].text, text) == 0)
      return &r->added[i];
  return NULL;
}

static textinv_status add_added(reader *r, const char *path, const char *text, const json_t *id,
                                int normalized)
{
  textinv_status status;

  if (!*text)
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: an added token is empty", path);
  if ((status = check_id(r, path, text, id)) < 0)
    return status;
  if (r->num_added == r->room) {
    const size_t room = r->room * 2 + 8;
    added *grown = ti_realloc_array(r->added, room, sizeof(*grown));

    if (!grown)
      return ti_fail_nomem(r->error, room * sizeof(*grown), "the added tokens");
    r->added = grown;
    r->room = room;
  }
  if (r->num_added == TI_TOKENIZER_MAX_ADDED)
    return ti_fail(r->error, TEXTINV_E_LIMIT, "%s: has over %d added tokens", path,
                   TI_TOKENIZER_MAX_ADDED);
  r->added[r->num_added] = (added){ ti_strdup(text), (uint32_t)json_integer_value(id), normalized };
  if (!r->added[r->num_added].text)
    return ti_fail_nomem(r->error, strlen(text), "an added token");
  r->num_added++;
  return TEXTINV_OK;
}

/* an object with content, normalized and so on; lstrip and rstrip make no difference to ids */
static textinv_status add_object(reader *r, const char *path, const json_t *o, const json_t *id)
{
  const json_t *content = json_object_get(o, "content");

  if (!json_is_string(content))
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: an added token has no \"content\"", path);
  if (json_is_true(json_object_get(o, "single_word")))
    return ti_fail(r->error, TEXTINV_E_UNSUPPORTED,
                   "%s: added token \"%.*s\" has \"single_word\" true, expected false", path,
                   ti_utf8_cut(json_string_value(content), 60), json_string_value(content));
  return add_added(r, path, json_string_value(content), id,
                   json_is_true(json_object_get(o, "normalized")));
}

/* -1 when text is no number of up to 9 digits */
static int decimal(const char *text)
{
  const size_t len = strlen(text);
  int value = 0;

  for (size_t i = 0; i < len; i++) {
    if (len > 9 || text[i] < '0' || text[i] > '9')
      return -1;
    value = value * 10 + (text[i] - '0');
  }
  return len > 0 ? value : -1;
}

static textinv_status read_added(reader *r, const char *folder)
{
  const json_t *list = json_object_get(r->main.root, "added_tokens");
  const json_t *decoder = r->config.root ? json_object_get(r->config.root, "added_tokens_decoder")
                                         : NULL;
  textinv_status status;
  const char *key;
  json_t *v;
  size_t i;
  ti_json more;
  int there;

  if (r->modern) {
    json_array_foreach(list, i,
                       v) if ((status = add_object(r, r->main.path, v, json_object_get(v, "id"))) <
                              0) return status;
  }
  if (json_is_object(decoder)) {
    json_object_foreach((json_t *)decoder, key, v)
    {
      const json_t *content = json_object_get(v, "content");
      json_t *id;

      if (json_is_string(content) && find_added(r, json_string_value(content)))
        continue;
      id = json_integer(decimal(key));
      status = add_object(r, r->config.path, v, id);
      json_decref(id);
      if (status < 0)
        return status;
    }
    r->num_listed = r->num_added;
    return TEXTINV_OK;
  }

  r->num_listed = r->num_added;
  if ((status = open_json(&more, &there, r->error, folder, "added_tokens.json")) < 0 || !there)
    return status;
  json_object_foreach(more.root, key, v)
  {
    if (!find_added(r, key) && (status = add_added(r, more.path, key, v, 1)) < 0)
      break;
  }
  ti_json_close(&more);
  return status;
}

/* a special token: of the map, else of the config, else the usual one; a string or an object */
static textinv_status special(reader *r, const char *key, const char *fallback, uint32_t *out,
                              size_t num_listed)
{
  const ti_json *from = &r->map;
  const json_t *v = r->map.root ? json_object_get(r->map.root, key) : NULL, *content;
  const char *text = fallback;
  int normalized = 0;
  added *a;

  if (!v || json_is_null(v)) {
    from = &r->config;
    v = r->config.root ? json_object_get(r->config.root, key) : NULL;
  }
  if (v && !json_is_null(v)) {
    content = json_is_object(v) ? json_object_get(v, "content") : v;
    if (!json_is_string(content))
      return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: \"%s\" is no token", from->path, key);
    text = json_string_value(content);
    normalized = json_is_true(json_object_get(v, "normalized"));
  } else {
    from = &r->main;
  }

  a = find_added(r, text);
  if (!a) {
    const json_t *id = json_object_get(r->vocab, text);
    textinv_status status;

    if (!id)
      return ti_fail(r->error, TEXTINV_E_FORMAT,
                     "%s: \"%s\" is \"%.*s\", which the vocabulary lacks", from->path, key,
                     ti_utf8_cut(text, 60), text);
    if ((status = add_added(r, from->path, text, id, normalized)) < 0)
      return status;
    a = &r->added[r->num_added - 1];
  } else if ((size_t)(a - r->added) >= num_listed) {
    a->normalized = normalized; /* of several special tokens with the same text the last counts */
  }
  *out = a->id;
  return TEXTINV_OK;
}

/*
 * a list of special tokens, which are found as they are written; not those whose normalisation
 * tokenizer.json or the decoder tells, nor, where keep is set, those of added_tokens.json. One that
 * has no id, to which transformers gives one that no text encoder knows, is read as any text.
 */
static textinv_status special_list(reader *r, const ti_json *from, const char *key, int keep)
{
  const json_t *list = json_object_get(from->root, key);
  textinv_status status;
  size_t i;
  json_t *v;

  if (json_array_size(list) > TI_TOKENIZER_MAX_ADDED)
    return ti_fail(r->error, TEXTINV_E_LIMIT, "%s: \"%s\" has over %d entries", from->path, key,
                   TI_TOKENIZER_MAX_ADDED);
  json_array_foreach(list, i, v)
  {
    const json_t *content = json_is_object(v) ? json_object_get(v, "content") : v, *id;
    const int normalized = json_is_true(json_object_get(v, "normalized"));
    const char *text = json_string_value(content);
    added *a;

    if (!text)
      return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: entry %zu of \"%s\" is no token", from->path,
                     i, key);
    if ((a = find_added(r, text))) {
      if (!keep && (size_t)(a - r->added) >= r->num_listed)
        a->normalized = normalized;
      continue;
    }
    id = json_object_get(r->vocab, text);
    if (id && (status = add_added(r, from->path, text, id, normalized)) < 0)
      return status;
  }
  return TEXTINV_OK;
}

/* of several lists those that count for transformers 5 */
static textinv_status special_lists(reader *r)
{
  static const char extra[] = "extra_special_tokens", additional[] = "additional_special_tokens";
  const int has_extra = json_is_array(json_object_get(r->config.root, extra));
  textinv_status status;

  if ((status = special_list(r, &r->config, has_extra ? extra : additional, 0)) < 0 ||
      (status = special_list(r, &r->map, extra, 0)) < 0 ||
      json_object_get(r->config.root, additional))
    return status;
  return special_list(r, &r->map, additional, 1);
}

static textinv_status read_special(reader *r)
{
  static const char begin[] = "<|startoftext|>", end[] = "<|endoftext|>";
  const size_t listed = r->num_added;
  ti_tokenizer *t = r->t;
  textinv_status status;
  uint32_t mask;

  if (t->kind == TI_TOKENIZER_BERT) {
    if ((status = special(r, "cls_token", "[CLS]", &t->begin, listed)) < 0 ||
        (status = special(r, "sep_token", "[SEP]", &t->end, listed)) < 0 ||
        (status = special(r, "unk_token", "[UNK]", &t->unk, listed)) < 0 ||
        (status = special(r, "pad_token", "[PAD]", &t->pad, listed)) < 0 ||
        (status = special(r, "mask_token", "[MASK]", &mask, listed)) < 0)
      return status;
  } else if ((status = special(r, "bos_token", begin, &t->begin, listed)) < 0 ||
             (status = special(r, "eos_token", end, &t->end, listed)) < 0 ||
             (status = special(r, "unk_token", end, &t->unk, listed)) < 0 ||
             (status = special(r, "pad_token", r->pad ? r->pad : end, &t->pad, listed)) < 0) {
    return status;
  }
  return special_lists(r);
}

static textinv_status build_matches(reader *r)
{
  ti_tokenizer *t = r->t;
  textinv_status status;

  t->raw = ti_calloc(r->num_added, sizeof(*t->raw));
  t->normal = ti_calloc(r->num_added, sizeof(*t->normal));
  if (!t->raw || !t->normal)
    return ti_fail_nomem(r->error, r->num_added * sizeof(*t->raw), "the added tokens");
  for (size_t i = 0; i < r->num_added; i++) {
    added *a = &r->added[i];
    ti_match m = { a->text, strlen(a->text), NULL, a->id, 1, i };

    if (a->normalized) {
      char *text;

      if ((status = ti_tokenizer_normalize(t, &text, &m.len, NULL, r->error, a->text,
                                           strlen(a->text))) < 0)
        return status;
      if (!m.len) {
        ti_free(text);
        return ti_fail(r->error, TEXTINV_E_UNSUPPORTED,
                       "%s: of added token %u nothing is left when it is normalised", r->main.path,
                       a->id);
      }
      m.text = text;
      t->normal[t->num_normal++] = m;
    } else {
      t->raw[t->num_raw++] = m;
      a->text = NULL; /* handed over */
    }
  }
  ti_match_sort(t->raw, t->num_raw);
  ti_match_sort(t->normal, t->num_normal);
  return TEXTINV_OK;
}

/* ------ all files */

static textinv_status read_config(reader *r, const char *folder)
{
  static const char *const known[2][4] = {
    { "CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend" },
    { "BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend" },
  };
  const char *const *classes = known[r->t->kind == TI_TOKENIZER_BERT], *class = classes[0];
  textinv_status status;
  double length = 0;
  int there, found = 0;

  if ((status = open_json(&r->config, &there, r->error, folder, "tokenizer_config.json")) < 0)
    return status;
  if (there) {
    if ((status = ti_json_string(&r->config, r->error, "tokenizer_class", class, &class)) < 0 ||
        (status = ti_json_float(&r->config, r->error, "model_max_length", 0, 3, 1e300, &length)) <
          0)
      return status;
  }
  for (int i = 0; i < 4; i++)
    found |= strcmp(class, classes[i]) == 0;
  if (!found)
    return ti_fail(r->error, TEXTINV_E_UNSUPPORTED,
                   "%s: \"tokenizer_class\" is \"%.*s\", expected %s", r->config.path,
                   ti_utf8_cut(class, 60), class, classes[0]);
  /* transformers writes 1e30 for "unknown" */
  r->t->max_length = length >= 3 && length <= 1 << 20 ? (int)length : DEFAULT_LENGTH;

  if (there && json_is_object(json_object_get(r->config.root, "added_tokens_decoder")))
    return TEXTINV_OK;
  return open_json(&r->map, &there, r->error, folder, "special_tokens_map.json");
}

/* tokenizer.json's model; *merges is borrowed from it */
static textinv_status find_model(reader *r, const json_t **merges)
{
  const json_t *model = json_object_get(r->main.root, "model");
  const json_t *type = json_object_get(model, "type"),
               *suffix = json_object_get(model, "end_of_word_suffix");
  const char *name = json_is_string(type) ? json_string_value(type) : "BPE";

  if (!json_is_object(model))
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: has no \"model\"", r->main.path);
  if (!strcmp(name, "WordPiece"))
    r->t->kind = TI_TOKENIZER_BERT;
  else if (strcmp(name, "BPE") != 0)
    return ti_fail(r->error, TEXTINV_E_UNSUPPORTED,
                   "%s: model \"type\" is \"%.*s\", expected BPE or WordPiece", r->main.path,
                   ti_utf8_cut(name, 60), name);
  if (suffix && !(json_is_string(suffix) && strcmp(json_string_value(suffix), "</w>") == 0))
    return ti_fail(r->error, TEXTINV_E_UNSUPPORTED,
                   "%s: model \"end_of_word_suffix\" is not \"</w>\", as CLIP's is", r->main.path);
  r->vocab = json_object_get(model, "vocab");
  if (!json_is_object(r->vocab))
    return ti_fail(r->error, TEXTINV_E_FORMAT, "%s: model has no \"vocab\"", r->main.path);
  *merges = json_object_get(model, "merges");
  return TEXTINV_OK;
}

/* the vocabulary of a folder without tokenizer.json */
static textinv_status open_vocab(reader *r, const char *folder)
{
  textinv_status status;
  int there;

  if ((status = open_json(&r->main, &there, r->error, folder, "vocab.json")) < 0)
    return status;
  if (!there && r->pad) {
    status = ti_clip_vocab_of_merges(&r->main, r->error, folder);
  } else if (!there) {
    r->t->kind = TI_TOKENIZER_BERT;
    status = ti_wordpiece_vocab(&r->main, r->error, folder);
    if (status == TEXTINV_E_NOT_FOUND)
      status = ti_fail(r->error, status,
                       "%s: holds neither tokenizer.json nor vocab.json nor vocab.txt", folder);
  }
  r->vocab = r->main.root;
  return status;
}

static textinv_status read_kind(reader *r, const char *folder, const json_t *merges)
{
  ti_tokenizer *t = r->t;

  if (t->kind == TI_TOKENIZER_BERT)
    return ti_wordpiece_read(&t->wordpiece, r->error, &r->config, r->vocab, t->tokens, t->size);
  ti_clip_symbols_read(&t->clip, r->vocab, t->unk);
  return r->modern
           ? ti_clip_merges_read(&t->clip, t->size, r->error, r->main.path, r->vocab, merges)
           : ti_clip_merges_read_file(&t->clip, t->size, r->error, folder, r->vocab);
}

static textinv_status read_files(reader *r, const char *folder)
{
  const json_t *merges = NULL;
  textinv_status status;

  if ((status = open_json(&r->main, &r->modern, r->error, folder, "tokenizer.json")) < 0 ||
      (status = r->modern ? find_model(r, &merges) : open_vocab(r, folder)) < 0 ||
      (status = read_config(r, folder)) < 0 || (status = read_added(r, folder)) < 0 ||
      (status = read_vocab(r)) < 0 || (status = read_special(r)) < 0 ||
      (status = read_kind(r, folder, merges)) < 0)
    return status;
  return build_matches(r);
}

textinv_status ti_tokenizer_read(ti_tokenizer *t, ti_error *error, const char *folder,
                                 const char *pad)
{
  reader r = { .t = t, .error = error, .pad = pad };
  const textinv_status status = read_files(&r, folder);

  for (size_t i = 0; i < r.num_added; i++)
    ti_free(r.added[i].text);
  ti_free(r.added);
  ti_json_close(&r.main);
  ti_json_close(&r.config);
  ti_json_close(&r.map);
  return status;
}
