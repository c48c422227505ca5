from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from lens.activations.random_models import byte_tokenizer
from lens.activations.token_texts import token_texts


def test_bytes_read_as_their_characters():
    tokenizer = byte_tokenizer()
    ids = list("O, é!\n".encode())
    assert "".join(token_texts(ids[:3], tokenizer)) == "O, "
    assert token_texts(ids[-2:], tokenizer) == ["!", "\n"]
    assert token_texts([256], tokenizer) == ["<bos>"]
    assert token_texts([ids[3]], tokenizer) == ["�"]  # half a character


def test_word_pieces_get_their_spaces_back():
    pieces = ["[UNK]", "a", "king", "##dom", ","]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    assert token_texts([2, 3, 2], PreTrainedTokenizerFast(tokenizer_object=backend)) == [" king", "dom", " king"]
