/* Choosing the next token: mask, penalties, top-k, top-p, min-p, temperature, then one draw.
 *
 * The steps and their order are llama.cpp's defaults. Top-p and min-p look at the probabilities
 * before the temperature is applied. Ties go to the lower id, so that the choice depends on
 * nothing but the logits and the seed.
 */
#include "numeric.h"

typedef struct {
  float logit;
  uint32_t id;
} Candidate;

typedef struct {
  float temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty;
  uint32_t top_k, repeat_last_n;
  uint64_t random; /* state of SplitMix64 */
} Sampler;

static Sampler samplers[MAX_SEQUENCES];
static bool masked[MAX_SEQUENCES];

INLINE uint32_t *mask_of(uint32_t sequence) {
  return state.masks + (uint64_t)sequence * round_up(weights.config.n_vocab, 32) / 32;
}

/* The mask of a sequence, uint32[ceil(n_vocab / 32)]: bit i % 32 of word i / 32 allows token i. */
EXPORT(mlr_mask) double mlr_mask(uint32_t sequence) {
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  return address_of(mask_of(sequence));
}

/* Whether the mask of a sequence holds; at first it does not. */
EXPORT(mlr_use_mask) int32_t mlr_use_mask(uint32_t sequence, uint32_t on) {
  if (!state.ready) return ERROR_STATE;
  if (sequence >= state.n_sequences) return ERROR_ARGUMENT;
  masked[sequence] = on != 0;
  return OK;
}

/* How the tokens of a sequence are chosen. Until it is called, the largest logit wins. */
EXPORT(mlr_sampler)
int32_t mlr_sampler(uint32_t sequence, float temperature, uint32_t top_k, float top_p, float min_p,
                    float repeat_penalty, uint32_t repeat_last_n, float frequency_penalty,
                    float presence_penalty, uint32_t seed_low, uint32_t seed_high) {
  if (sequence >= MAX_SEQUENCES) return ERROR_ARGUMENT;
  samplers[sequence] = (Sampler){
      .temperature = temperature,
      .top_p = top_p,
      .min_p = min_p,
      .repeat_penalty = repeat_penalty,
      .frequency_penalty = frequency_penalty,
      .presence_penalty = presence_penalty,
      .top_k = top_k,
      .repeat_last_n = repeat_last_n,
      .random = (uint64_t)seed_high << 32 | seed_low,
  };
  return OK;
}

/* SplitMix64 (Steele, Lea and Flood, 2014), as a number in [0, 1). */
static double next_random(Sampler *sampler) {
  uint64_t z = sampler->random += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

INLINE bool before(Candidate a, Candidate b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(Candidate *heap, uint32_t n, uint32_t i) {
  Candidate moving = heap[i];
  for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
    if (!before(heap[child], moving)) break;
    heap[i] = heap[child];
  }
  heap[i] = moving;
}

/* Whether any of `n` logits is larger, a multiple of four. What is not a number is not. */
INLINE bool any_larger(const float *logits, uint32_t n, float than) {
  v128_t start = wasm_f32x4_splat(than), largest = start;
  for (uint32_t i = 0; i < n; i += 4) largest = wasm_f32x4_pmax(largest, wasm_v128_load(logits + i));
  return wasm_v128_any_true(wasm_f32x4_gt(largest, start));
}

/* The largest logit's index, the first of equals; 0 where none is a number. */
uint32_t argmax(const float *logits, uint32_t n) {
  uint32_t best = 0;
  float largest = -__builtin_inff();
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16) { /* most groups hold nothing larger: look inside only then */
    if (!any_larger(logits + i, 16, largest)) continue;
    for (uint32_t j = i; j < i + 16; j++)
      if (logits[j] > largest) largest = logits[best = j];
  }
  for (; i < n; i++)
    if (logits[i] > largest) largest = logits[best = i];
  return best;
}

/* The allowed tokens of a word of the mask, as bits. */
INLINE uint32_t allowed_bits(const uint32_t *mask, uint32_t word, uint32_t n) {
  uint32_t left = n - word * 32;
  return left < 32 ? mask[word] & ((1u << left) - 1) : mask[word];
}

/* The allowed token with the largest logit, the first of equals, or a negative error. */
static int32_t masked_argmax(const float *logits, const uint32_t *mask, uint32_t n) {
  int32_t best = ERROR_MASK;
  float largest = -__builtin_inff();
  for (uint32_t word = 0; word * 32 < n; word++) {
    uint32_t bits = allowed_bits(mask, word, n);
    if (bits && best == ERROR_MASK) best = ERROR_NOT_FINITE; /* until a logit is larger than none */
    if (bits == ~0u && !any_larger(logits + word * 32, 32, largest)) continue;
    for (; bits; bits &= bits - 1) {
      uint32_t i = word * 32 + (uint32_t)__builtin_ctz(bits);
      if (logits[i] > largest) largest = logits[best = (int32_t)i];
    }
  }
  return largest < __builtin_inff() ? best : ERROR_NOT_FINITE;
}

/* Keep the candidates that the mask allows, in their order; returns how many. */
static uint32_t keep_allowed(Candidate *candidates, const uint32_t *mask, uint32_t n) {
  uint32_t kept = 0;
  for (uint32_t word = 0; word * 32 < n; word++)
    for (uint32_t bits = allowed_bits(mask, word, n); bits; bits &= bits - 1)
      candidates[kept++] = candidates[word * 32 + (uint32_t)__builtin_ctz(bits)];
  return kept;
}

static bool penalizes(const Sampler *sampler) {
  return sampler->repeat_last_n && (sampler->repeat_penalty != 1.0f ||
                                    sampler->frequency_penalty != 0.0f ||
                                    sampler->presence_penalty != 0.0f);
}

/* Whether the next token of a sequence is the one with the largest logit, as things stand. */
bool takes_largest(uint32_t sequence) {
  const Sampler *sampler = &samplers[sequence];
  return sampler->temperature <= 0.0f && !penalizes(sampler) && !masked[sequence];
}

/* How many tokens of its sequence a row of logits has seen: those after them in the pass are guesses,
 * and may be wrong. */
static uint32_t seen_by(uint32_t sequence, uint32_t row) {
  const BatchToken *token = &state.pass[state.outputs[row]];
  uint32_t position = state.sequences[sequence].position;
  return token->sequence == sequence ? min_u32(token->position + 1, position) : position;
}

/* Candidates are all tokens, by id; `end` tokens of the history count. */
static void penalize(const Sampler *sampler, const int32_t *history, uint32_t end,
                     Candidate *candidates) {
  uint32_t start = end - min_u32(sampler->repeat_last_n, end);
  for (uint32_t i = start; i < end; i++) {
    bool seen = false;
    for (uint32_t j = start; j < i && !seen; j++) seen = history[j] == history[i];
    if (seen) continue;
    uint32_t count = 1;
    for (uint32_t j = i + 1; j < end; j++) count += history[j] == history[i];
    float *logit = &candidates[history[i]].logit;
    *logit = *logit > 0.0f ? *logit / sampler->repeat_penalty : *logit * sampler->repeat_penalty;
    *logit -= (float)count * sampler->frequency_penalty + sampler->presence_penalty;
  }
}

/* Sort the best of `n` candidates to the front until there are `limit` of them, or until those
 * sorted hold the share `top_p` of the probability; returns how many. Heap order: each costs
 * log n. The sorted ones are collected from the back of the array. */
static uint32_t take_best(Candidate *candidates, uint32_t n, uint32_t limit, float top_p) {
  double total = 0.0, taken = 0.0;
  for (uint32_t i = n / 2; i-- > 0;) sift_down(candidates, n, i);
  float largest = candidates[0].logit;
  uint32_t wanted = min_u32(limit, n), size = n, kept = 0;
  while (kept < wanted) { /* top-k */
    Candidate best = candidates[0];
    candidates[0] = candidates[--size];
    sift_down(candidates, size, 0);
    candidates[size] = best;
    kept++;
    if (limit < n) continue; /* top-p counts within the top k: below */
    if (top_p >= 1.0f) continue;
    if (total == 0.0) { /* the share is of all candidates, the heap included */
      for (uint32_t i = 0; i < n; i++) total += (double)exp_f32(candidates[i].logit - largest);
    }
    taken += (double)exp_f32(best.logit - largest);
    if (taken >= (double)top_p * total) break;
  }
  /* reversed at the back: bring them to the front in order */
  for (uint32_t i = 0, j = n - 1; i < kept; i++, j--) {
    if (i >= j) break;
    Candidate swap = candidates[i];
    candidates[i] = candidates[j];
    candidates[j] = swap;
  }
  if (limit < n && top_p < 1.0f) {
    for (uint32_t i = 0; i < kept; i++) total += (double)exp_f32(candidates[i].logit - largest);
    for (uint32_t i = 0; i < kept; i++) {
      taken += (double)exp_f32(candidates[i].logit - largest);
      if (taken >= (double)top_p * total) return i + 1;
    }
  }
  return kept;
}

static uint32_t draw(Sampler *sampler, const Candidate *candidates, uint32_t n, float largest) {
  double total = 0.0, sum = 0.0;
  float inverse = 1.0f / sampler->temperature;
  for (uint32_t i = 0; i < n; i++) total += (double)exp_f32((candidates[i].logit - largest) * inverse);
  double target = next_random(sampler) * total;
  for (uint32_t i = 0; i < n; i++) {
    sum += (double)exp_f32((candidates[i].logit - largest) * inverse);
    if (sum > target) return candidates[i].id;
  }
  return candidates[n - 1].id;
}

/* The next token of a sequence, from a row of the logits, or a negative error. Does not append it. */
EXPORT(mlr_sample) int32_t mlr_sample(uint32_t sequence, uint32_t row) {
  if (sequence >= state.n_sequences || row >= state.n_outputs) return ERROR_ARGUMENT;
  bool only_largest = takes_largest(sequence);
  if (only_largest && state.choosing) return chosen_token(row);
  int32_t error = only_largest ? OK : need_logits();
  if (error) return error;
  Sampler *sampler = &samplers[sequence];
  const float *logits = logits_row(row);
  uint32_t n = weights.config.n_vocab;
  const uint32_t *mask = masked[sequence] ? mask_of(sequence) : 0;
  bool greedy = sampler->temperature <= 0.0f, penalty = penalizes(sampler);
  int32_t best = mask ? masked_argmax(logits, mask, n) : (int32_t)argmax(logits, n);
  if (best < 0) return best;
  if (!(__builtin_fabsf(logits[best]) < __builtin_inff())) return ERROR_NOT_FINITE;
  if (greedy && !penalty) return best;

  Candidate *candidates = state.candidates;
  for (uint32_t i = 0; i < n; i++) /* what is not a number is never drawn */
    candidates[i] = (Candidate){logits[i] == logits[i] ? logits[i] : -__builtin_inff(), i};
  if (penalty) penalize(sampler, state.sequences[sequence].history, seen_by(sequence, row), candidates);
  if (mask) n = keep_allowed(candidates, mask, n);
  uint32_t first = 0;
  for (uint32_t i = 1; i < n; i++)
    if (before(candidates[i], candidates[first])) first = i;
  if (greedy) return (int32_t)candidates[first].id;

  float largest = candidates[first].logit;
  if (sampler->min_p > 0.0f) { /* p >= min_p * p_max; the order of the steps does not matter to it */
    float floor = sampler->min_p < 1.0f ? sampler->min_p : 1.0f; /* the likeliest is kept, whatever is asked */
    uint32_t kept = 0;
    if (!(sampler->top_k || sampler->top_p < 1.0f)) {
      for (uint32_t i = 0; i < n; i++)
        if (exp_f32(candidates[i].logit - largest) >= floor) candidates[kept++] = candidates[i];
      return (int32_t)draw(sampler, candidates, kept, largest);
    }
  }
  if (sampler->top_k || sampler->top_p < 1.0f) {
    n = take_best(candidates, n, sampler->top_k ? sampler->top_k : n, sampler->top_p);
    if (sampler->min_p > 0.0f)
      while (n > 1 && exp_f32(candidates[n - 1].logit - largest) < sampler->min_p) n--;
  }
  return (int32_t)draw(sampler, candidates, n, largest);
}
