/* From rows as a GGUF file has them to tiles of TILE = 8 interleaved rows.
 *
 * Quantized weights lie in groups of four columns. A group holds, for rows 0-3 and then 4-7, the
 * four weights of each row, so that one 32-bit activation group, splat over a vector, meets four
 * rows at once and no horizontal sum is ever needed:
 *
 *   eight bits  32 bytes a group: byte 4 r + k is row r, column k
 *   four bits   16 bytes a group: low nibble of byte 4 r + k is row r, high nibble row r + 4
 *   two bits    16 bytes two groups: in byte 4 r + k, from the lowest bits up, the first group's
 *               row r and row r + 4, then the second group's
 *   three, five and six bits   units of 16 columns; see repack.h
 *
 * A block of columns starts with its scales, in row order:
 *
 *   Q8_0   32 columns: f16 scale[8], 8 eight-bit groups
 *   Q4_0   32 columns: f16 scale[8], 8 four-bit groups (weights + 8)
 *   IQ4_NL 32 columns: as Q4_0 (places in a table)
 *   Q4_1   32 columns: f16 scale[8], f16 minimum[8], 8 four-bit groups
 *   Q5_0   32 columns: f16 scale[8], 2 five-bit units (weights + 16)
 *   Q5_1   32 columns: f16 scale[8], f16 minimum[8], 2 five-bit units
 *   MXFP4  32 columns: u8 exponent[8], 8 four-bit groups (places in a table)
 *   Q2_K  256 columns: f16 d[8], f16 dmin[8], u8 scale and minimum[8][8 rows][2] (a nibble each;
 *                      sub-blocks 2 p and 2 p + 1 side by side), 64 two-bit groups
 *   Q3_K  256 columns: f16 d[8], i8 scale[16 sub-blocks][8], 16 three-bit units (weights + 4)
 *   Q4_K  256 columns: f16 d[8], f16 dmin[8], u8 scale[8 sub-blocks][8], u8 min[4][8 rows][2]
 *                      (sub-blocks 2 p and 2 p + 1 side by side), 64 four-bit groups
 *   Q5_K  256 columns: scales and minima as Q4_K, 16 five-bit units
 *   Q6_K  256 columns: f16 d[8], i8 scale[16 sub-blocks][8], 16 six-bit units (weights + 32)
 *   IQ4_XS 256 columns: f16 d[8], i8 scale[8 sub-blocks][8], 64 four-bit groups (places in a table)
 *   TQ2_0 256 columns: f16 scale[8], 64 two-bit groups (weights + 1); TQ1_0 likewise
 *   F32, F16, BF16: value[8 rows] for each column
 *
 * Raw blocks are as in ggml's quants (block_q4_0, block_q4_K, …).
 */
#include "repack.h"

/* `rows` (1 to TILE) rows of the file, one after another, into a tile. Rows beyond are zero. */
void repack_tile(uint32_t type, uint32_t cols, uint32_t rows, const uint8_t *raw, uint8_t *tile) {
  uint64_t raw_row = row_bytes(type, cols);
  uint64_t size = tile_bytes(type, cols);
  if (rows < TILE) __builtin_memset(tile, 0, size);
  if (type == TYPE_F32 || type == TYPE_F16 || type == TYPE_BF16) {
    for (uint32_t r = 0; r < rows; r++) {
      const uint8_t *from = raw + r * raw_row;
      if (type == TYPE_F32)
        for (uint32_t k = 0; k < cols; k++) store_u32(tile + 4 * (TILE * k + r), load_u32(from + 4 * k));
      else
        for (uint32_t k = 0; k < cols; k++) copy_u16(tile + 2 * (TILE * k + r), from + 2 * k);
    }
    return;
  }
  uint32_t blocks = cols / type_block(type);
  uint64_t raw_block = raw_row / blocks, tile_block = size / blocks;
  for (uint32_t b = 0; b < blocks; b++) {
    uint8_t *to = tile + b * tile_block;
    for (uint32_t r = 0; r < rows; r++) {
      const uint8_t *from = raw + r * raw_row + b * raw_block;
      if (type_block(type) == 32)
        repack_32(type, from, r, to);
      else
        repack_256(type, from, r, to);
    }
  }
}
