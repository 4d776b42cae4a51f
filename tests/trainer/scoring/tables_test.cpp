#include <gtest/gtest.h>

#include "trainer/scoring/confusion.h"
#include "trainer/scoring/confusion_plot.h"
#include "trainer/scoring/embedding_files.h"
#include "trainer/scoring/interval.h"

namespace trainer::scoring {
namespace {

TEST(WilsonInterval, KnownValues) {
  // Against R's binom::binom.wilson.
  EXPECT_NEAR(WilsonInterval(8, 10).low, 0.4901625, 1e-6);
  EXPECT_NEAR(WilsonInterval(8, 10).high, 0.9433178, 1e-6);
  EXPECT_EQ(WilsonInterval(0, 10).low, 0);
  EXPECT_NEAR(WilsonInterval(0, 10).high, 0.2775328, 1e-6);
  EXPECT_NEAR(WilsonInterval(10, 10).low, 0.7224672, 1e-6);
  EXPECT_DOUBLE_EQ(WilsonInterval(10, 10).high, 1);
  EXPECT_EQ(WilsonInterval(0, 0).low, 0);
  EXPECT_EQ(WilsonInterval(0, 0).high, 1);
}

ConfusionMatrix Example() {
  ConfusionMatrix matrix({"ann", "bob, jr", "eve", "\"z\""});
  for (int i = 0; i < 3; ++i) matrix.Add(0, 0);
  matrix.Add(0, 2);
  matrix.Add(2, 0);
  matrix.Add(2, 1);
  matrix.Add(2, 1);
  matrix.Add(3, 3);
  return matrix;
}

TEST(ConfusionMatrix, SpeakersTable) {
  EXPECT_EQ(Example().SpeakersCsv(),
            "speaker,utterances,correct,accuracy,confused_with,confusions\n"
            "ann,4,3,0.750000,eve,1\n"
            "eve,3,0,0.000000,\"bob, jr\",2\n"
            "\"\"\"z\"\"\",1,1,1.000000,,0\n");
}

TEST(ConfusionMatrix, Table) {
  EXPECT_EQ(Example().Csv(),
            "speaker,ann,\"bob, jr\",eve,\"\"\"z\"\"\"\n"
            "ann,3,0,1,0\n"
            "eve,1,2,0,0\n"
            "\"\"\"z\"\"\",0,0,0,1\n");
}

TEST(ConfusionPlot, ACellEveryPairThatOccurred) {
  const auto svg = ConfusionSvg(Example(), "a & b");
  EXPECT_NE(svg.find("a &amp; b"), std::string::npos);
  size_t blue = 0, red = 0;
  for (size_t at = 0; (at = svg.find(",255)\"", at)) != std::string::npos; ++at) ++blue;
  for (size_t at = 0; (at = svg.find("rgb(255,", at)) != std::string::npos; ++at) ++red;
  EXPECT_EQ(blue, 2u);  // ann and z, right
  EXPECT_EQ(red, 3u);
  EXPECT_NE(svg.find("rgb(0,0,255)"), std::string::npos) << "a row that is all right is of full colour";
}

TEST(Npy, HeaderIsAlignedAndSaysTheShape) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const auto bytes = NpyBytes(values, 2, 3);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t header = static_cast<unsigned char>(bytes[8]) + 256u * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ((10 + header) % 64, 0u);
  EXPECT_EQ(bytes[10 + header - 1], '\n');
  EXPECT_NE(bytes.find("'shape': (2, 3)"), std::string::npos);
  EXPECT_EQ(bytes.size(), 10 + header + 24);
  EXPECT_THROW(NpyBytes(values, 2, 2), std::invalid_argument);
}

}  // namespace
}  // namespace trainer::scoring
