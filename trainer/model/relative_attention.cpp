#include "trainer/model/relative_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "trainer/kernels/linear.h"

namespace trainer::model {
namespace {

// Note [Skewing]
// The table q_i . e_r(i, j) for all i and j would need (T, T, dh) vectors e if it were written down as in the
// formula. But e depends on i - j alone. For queries a <= i < a + n there are D = T + n - 1 distances; let
// column c stand for the distance a + n - 1 - c, so that P = q e^T is (n, D). Then the wanted value for query
// a + x and key j lies in row x and column (n - 1) - x + j: with a row stride of D - 1 instead of D and an
// offset of n - 1, the very memory of P is the (n, T) table. Nothing is gathered or copied.
torch::Tensor Skewed(const torch::Tensor& table, int64_t n_keys) {  // (N, n, D) to a view (N, n, n_keys)
  const int64_t count = table.size(0), n = table.size(1), d = table.size(2);
  return table.as_strided({count, n, n_keys}, {n * d, d - 1, 1}, n - 1);
}

// The rows of `positions` for the distances a + n - 1 - c, c = 0 ... n_keys + n - 2.
torch::Tensor DistanceRows(const torch::Tensor& positions, int64_t first_query, int64_t n, int64_t n_keys) {
  const int64_t m = positions.size(0) / 2;
  const int64_t farthest = first_query + n - 1;
  const auto options = torch::TensorOptions().dtype(torch::kInt64).device(positions.device());
  return torch::arange(farthest, farthest - (n_keys + n - 1), -1, options).clamp(-m, m).add_(m);
}

// The attention weights (N, n, T) of `query` (N, n, dh), scaled already, whose first one is number
// `first_query`; N = B * h.
torch::Tensor Weights(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& e,
                      const torch::Tensor& key_mask) {
  const int64_t count = query.size(0), n = query.size(1), width = query.size(2), n_keys = key.size(1);
  const auto table = kernels::Linear(query.reshape({-1, width}), e, {}).view({count, n, e.size(0)});
  auto scores = at::baddbmm(Skewed(table, n_keys), query, key.transpose(1, 2));
  if (key_mask.defined()) {
    const int64_t batch = key_mask.size(0);
    scores.view({batch, count / batch, n, n_keys})
        .masked_fill_(key_mask.logical_not().view({batch, 1, 1, n_keys}),
                      -std::numeric_limits<float>::infinity());
  }
  return at::softmax(scores, -1);
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  // query, key, value (N, T, dh), the query scaled already.
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& query,
                               const torch::Tensor& key, const torch::Tensor& value,
                               const torch::Tensor& positions, const std::optional<torch::Tensor>& key_mask) {
    const int64_t frames = query.size(1);
    const auto rows = DistanceRows(positions, 0, frames, frames);
    const auto e = positions.index_select(0, rows);
    // In the inputs' type, whatever the softmax was computed in.
    const auto weights = Weights(query, key, e, key_mask.value_or(torch::Tensor())).to(query.scalar_type());
    context->save_for_backward({query, key, value, weights, e, rows});
    context->saved_data["positions"] = positions.size(0);
    return at::bmm(weights, value);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto &query = saved[0], &key = saved[1], &value = saved[2], &weights = saved[3], &e = saved[4],
               &rows = saved[5];
    const auto d_output = gradients[0].contiguous();
    const auto d_value = at::bmm(weights.transpose(1, 2), d_output);
    const auto d_scores = at::_softmax_backward_data(at::bmm(d_output, value.transpose(1, 2)), weights, -1,
                                                     weights.scalar_type());
    const auto d_key = at::bmm(d_scores.transpose(1, 2), query);
    auto d_query = at::bmm(d_scores, key);
    auto d_table = torch::zeros({query.size(0), query.size(1), e.size(0)}, query.options());
    Skewed(d_table, key.size(1)).copy_(d_scores);
    const auto flat = d_table.view({-1, e.size(0)});
    d_query.add_(kernels::Linear(flat, e.t(), {}).view_as(d_query));
    auto d_positions =
        torch::zeros({context->saved_data["positions"].toInt(), query.size(2)}, query.options());
    d_positions.index_add_(0, rows, kernels::Linear(flat.t(), query.reshape({-1, query.size(2)}).t(), {}));
    return {d_query, d_key, d_value, d_positions, torch::Tensor()};
  }
};

}  // namespace

torch::Tensor RelativeAttention(const torch::Tensor& query, const torch::Tensor& key,
                                const torch::Tensor& value, const torch::Tensor& positions,
                                const torch::Tensor& key_mask, int64_t scores_budget_bytes) {
  const int64_t batch = query.size(0), heads = query.size(1), frames = query.size(2), width = query.size(3);
  const auto merged = [&](const torch::Tensor& x) { return x.reshape({batch * heads, frames, width}); };
  const auto q = merged(query) * (1 / std::sqrt(static_cast<double>(width)));
  const auto k = merged(key), v = merged(value);
  if (torch::GradMode::is_enabled()) {
    const auto mask = key_mask.defined() ? std::optional<torch::Tensor>(key_mask) : std::nullopt;
    return Attention::apply(q, k, v, positions, mask).view({batch, heads, frames, width});
  }
  // A row of scores comes with the table that is skewed into it, the softmax of it, and its sum with q k^T.
  const int64_t row_bytes = batch * heads * frames * 4 * static_cast<int64_t>(sizeof(float));
  const int64_t slice = std::clamp<int64_t>(scores_budget_bytes / row_bytes, 1, frames);
  auto output = torch::empty({batch * heads, frames, width}, q.options());
  for (int64_t first = 0; first < frames; first += slice) {
    const int64_t n = std::min(slice, frames - first);
    const auto e = positions.index_select(0, DistanceRows(positions, first, n, frames));
    auto part = output.narrow(1, first, n);
    part.copy_(at::bmm(Weights(q.narrow(1, first, n), k, e, key_mask), v));
  }
  return output.view({batch, heads, frames, width});
}

}  // namespace trainer::model
