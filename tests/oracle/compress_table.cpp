// Rewrites a table with its blocks compressed by snappy: compress_table FROM TO.
#include <iostream>
#include <memory>

#include <leveldb/env.h>
#include <leveldb/iterator.h>
#include <leveldb/table.h>
#include <leveldb/table_builder.h>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  leveldb::Env* env = leveldb::Env::Default();
  leveldb::Options options;
  options.compression = leveldb::kSnappyCompression;
  options.block_size = 512;  // several blocks, some of which snappy makes no smaller
  std::uint64_t size = 0;
  leveldb::RandomAccessFile* in = nullptr;
  leveldb::WritableFile* out = nullptr;
  leveldb::Table* table = nullptr;
  leveldb::Status status = env->GetFileSize(argv[1], &size);
  if (status.ok()) status = env->NewRandomAccessFile(argv[1], &in);
  if (status.ok()) status = leveldb::Table::Open(options, in, size, &table);
  if (status.ok()) status = env->NewWritableFile(argv[2], &out);
  if (status.ok()) {
    leveldb::TableBuilder builder(options, out);
    const std::unique_ptr<leveldb::Iterator> i(table->NewIterator(leveldb::ReadOptions()));
    for (i->SeekToFirst(); i->Valid(); i->Next()) builder.Add(i->key(), i->value());
    status = builder.Finish();
    if (status.ok()) status = out->Close();
  }
  if (!status.ok()) std::cerr << status.ToString() << "\n";
  return status.ok() ? 0 : 1;
}
